"""Hessian rows and stresses of a student against central differences of its forces and energies."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from jointkd.structures.batch import Structure
from jointkd.students.derivatives import predict
from jointkd.students.gemnet import GemNet
from jointkd.students.painn import PaiNN
from tests.structures import CUTOFF, ETHANOL, WATER, batch_of, rattled

SKEWED = rattled(bulk("NaCl", "rocksalt", a=5.0) * (2, 1, 1), 1)
SKEWED.set_cell(SKEWED.cell.array @ np.array([[1, 0.1, 0], [0.02, 1, 0.05], [0, 0, 1.03]]), scale_atoms=True)
CONSERVATIVE = {
    "painn": lambda: PaiNN(width=8, layers=2, radial=6, cutoff=CUTOFF, conservative=True),
    "gemnet_dt": lambda: GemNet(width=8, blocks=1, spherical=2, cutoff=CUTOFF, conservative=True),
}

STEP = 1e-5


def small(conservative: bool) -> Any:
    torch.manual_seed(0)
    return PaiNN(width=8, layers=2, radial=6, cutoff=CUTOFF, conservative=conservative).double().requires_grad_(False)


def hessian(student: Any, batch: Structure) -> torch.Tensor:
    """-∂F/∂R [N, 3, N, 3] of all atoms of a batch by central differences."""

    def forces(displacement: torch.Tensor) -> torch.Tensor:
        result = predict(student, replace(batch, positions=batch.positions + displacement)).forces
        assert result is not None
        return result

    moves = STEP * torch.eye(batch.positions.numel(), dtype=torch.float64).view(-1, *batch.positions.shape)
    columns = torch.stack([forces(-move) - forces(move) for move in moves], dim=-1) / (2 * STEP)
    return columns.view(*batch.positions.shape, *batch.positions.shape)


@pytest.mark.parametrize("conservative", [False, True])
def test_a_row_of_the_hessian_is_that_of_the_atom_and_the_axis_of_its_number(conservative):
    student, batch = small(conservative), batch_of(ETHANOL, WATER)
    rows = predict(student, batch, torch.tensor([[0, 16], [5, 7]])).hessian_rows
    assert rows is not None
    expected = hessian(student, batch)
    ethanol, water = slice(0, 9), slice(9, 12)
    for s, atom, axis, part in ((0, 0, 0, ethanol), (1, 5, 1, ethanol), (0, 9 + 1, 2, water), (1, 9 + 2, 1, water)):
        assert torch.allclose(rows[part, s], expected[atom, axis, part], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("conservative", [False, True])
def test_products_with_probes_are_those_of_the_full_hessian(conservative):
    student, batch = small(conservative), batch_of(ETHANOL, WATER)
    probes = torch.randn(12, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = predict(student, batch, probes)
    expected = hessian(student, batch)
    for part in (slice(0, 9), slice(9, 12)):
        products = torch.einsum("isa,iajb->jsb", probes[part], expected[part, :, part])
        assert torch.allclose(found.hessian_rows[part], products, rtol=1e-5, atol=1e-8)
    without = predict(student, batch)
    assert torch.allclose(found.forces, without.forces, rtol=1e-12, atol=1e-14)
    assert torch.allclose(found.atomic_energies, without.atomic_energies, rtol=1e-12, atol=1e-14)


def test_more_rows_than_atoms_are_those_that_are_asked_for_one_by_one():
    student, batch = small(False), batch_of(WATER)
    every = predict(student, batch, torch.arange(9)[None]).hessian_rows
    assert every is not None
    for row in range(9):
        (one,) = [predict(student, batch, torch.tensor([[row]])).hessian_rows]
        assert torch.allclose(every[:, row], one[:, 0], rtol=1e-10, atol=1e-13)


def crystals(*many: Atoms) -> Structure:
    volumes = torch.tensor([atoms.get_volume() for atoms in many], dtype=torch.float64)
    return replace(batch_of(*many), inverse_volume=1 / volumes)


def stress_by_differences(student: Any, atoms: Atoms) -> torch.Tensor:
    """(1/V) ∂E/∂ε [3, 3] eV/Å³ of a crystal."""
    stress = torch.zeros(3, 3, dtype=torch.float64)
    for row, column in np.ndindex(3, 3):
        energies = []
        for step in (STEP, -STEP):
            strain = np.zeros((3, 3))
            strain[row, column] = step
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
            energies.append(predict(student, batch_of(moved)).atomic_energies.sum())
        stress[row, column] = (energies[0] - energies[1]) / (2 * STEP) / atoms.get_volume()
    return stress


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_the_stress_is_the_derivative_of_the_energy_by_a_strain(name):
    torch.manual_seed(0)
    student = CONSERVATIVE[name]().double().requires_grad_(False)
    silicon = rattled(bulk("Si"), 2)
    found = predict(student, crystals(SKEWED, silicon), stress=True).stress
    for stress, atoms in zip(found, (SKEWED, silicon), strict=True):
        expected = stress_by_differences(student, atoms)
        assert expected.abs().max() > 1e-5
        assert torch.allclose(stress, expected, rtol=1e-6, atol=1e-9)


def test_rows_and_stresses_of_one_pass_are_those_of_two():
    student, batch, ids = small(True), crystals(SKEWED), torch.tensor([[4]])
    both = predict(student, batch, ids, stress=True)
    for name, other in (
        ("hessian_rows", predict(student, batch, ids)),
        ("stress", predict(student, batch, None, True)),
    ):
        assert torch.allclose(getattr(both, name), getattr(other, name), rtol=1e-12, atol=1e-14)
    assert predict(student, batch, ids).stress is None
