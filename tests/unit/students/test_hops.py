"""How far an atom's energy depends on others."""

from typing import Any

import pytest
import torch
from ase import Atoms

from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN
from tests.structures import batch_of

STUDENTS = {
    "painn, 1 layer": lambda: PaiNN(width=8, layers=1, radial=6, cutoff=4.0),
    "painn, 3 layers": lambda: PaiNN(width=8, layers=3, radial=6, cutoff=4.0),
    "gemnet, 1 block": lambda: GemNet(width=8, blocks=1, spherical=3, cutoff=4.0),
    "gemnet, 2 blocks": lambda: GemNet(width=8, blocks=2, spherical=3, cutoff=4.0),
}


@pytest.mark.parametrize("make", STUDENTS.values(), ids=STUDENTS.keys())
def test_the_energy_of_an_atom_depends_on_atoms_as_far_as_its_hops_and_no_further(make: Any) -> None:
    torch.manual_seed(0)
    student = make().double().requires_grad_(False)
    spacing = 2.5  # Å: neighbours in the chain are one hop apart, and next neighbours are beyond the cutoff
    chain = batch_of(Atoms("C10", [[spacing * n, 0.3 * (n % 2), 0.2 * (n % 3)] for n in range(10)]), cutoff=4.0)
    slope = torch.func.grad(lambda positions: student(positions, chain).atomic_energies[0])(chain.positions)
    assert [bool(each.any()) for each in slope] == [number <= student.hops for number in range(10)]
