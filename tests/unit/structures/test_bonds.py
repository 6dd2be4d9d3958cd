"""Bonds, their kinds, and their equilibrium lengths in a data set."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jointkd.structures import bonds as bonds_module
from jointkd.structures.bonds import equilibrium_lengths, find_bonds, kinds
from jointkd.structures.frame import Frame


def frame_of(atoms: Atoms) -> Frame:
    return Frame(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


def bonds_of(atoms: Atoms):
    return find_bonds(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)


def test_bonds_are_those_of_chemistry_also_across_a_boundary():
    ethanol = molecule("CH3CH2OH")
    kinds_of_ethanol = kinds(ethanol.numbers, bonds_of(ethanol))
    assert sorted(kinds_of_ethanol) == ["C4-C4", *["C4-H1"] * 5, "C4-O2", "H1-O2"]
    ethanol.set_cell([9, 9, 9])
    ethanol.pbc = True
    ethanol.positions += 4.5
    ethanol.wrap()
    ethanol.positions[:, 0] -= ethanol.positions[0, 0]
    ethanol.wrap()
    assert sorted(kinds(ethanol.numbers, bonds_of(ethanol))) == sorted(kinds_of_ethanol)
    copper = bulk("Cu")  # one atom, whose twelve neighbours are its own images
    assert kinds(copper.numbers, bonds_of(copper)) == ["Cu12-Cu12"] * 6


def test_the_equilibrium_length_of_a_kind_is_its_median_over_the_data_set(monkeypatch):
    lengths = [0.94, 0.96, 1.10]
    frames = [frame_of(Atoms("OH", [[0, 0, 0], [0, 0, length]])) for length in lengths]
    assert equilibrium_lengths(frames) == {"H1-O1": pytest.approx(0.96)}
    hydrogen = frame_of(Atoms("H2", [[0, 0, 0], [0, 0, 0.75]]))
    assert equilibrium_lengths([*frames, hydrogen]) == {"H1-H1": 0.75, "H1-O1": 0.96}
    assert equilibrium_lengths([frame_of(Atoms("H", [[0, 0, 0]]))]) == {}
    monkeypatch.setattr(bonds_module, "SAMPLE", 2)
    assert equilibrium_lengths([*frames, hydrogen])["H1-O1"] == pytest.approx(np.median([0.94, 1.10]))


def test_no_structures_have_no_lengths():
    assert equilibrium_lengths([]) == {}
