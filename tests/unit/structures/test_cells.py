"""A cell that is not sound is named before neighbours are searched, which would crash or take for ever."""

import numpy as np
import pytest
from ase.build import bulk, graphene, nanotube

from jointkd.errors import DataError
from jointkd.structures.cells import cell_fault, share_within
from jointkd.structures.neighbors import find_pairs

PERIODIC = np.ones(3, dtype=bool)
TWO = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (np.full((3, 3), np.nan), "not finite"),
        (np.eye(3) * 1e200, "exceeds 10000 Å"),
        (np.zeros((3, 3)), "periodic along a and has no lattice vector there"),
        (np.diag([5.0, 5.0, 0.0]), "periodic along c and has no lattice vector there"),
        (np.array([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 5]]), "linearly dependent"),
        (np.eye(3) * 1e-3, "so small that an atom would have more than 5000 neighbours within 6 Å"),
        (np.array([[10.0, 0, 0], [10.0, 1e-4, 0], [0, 0, 10]]), "so small"),
    ],
)
def test_a_cell_that_is_not_sound_is_named(cell, fault):
    assert fault in str(cell_fault(TWO, cell, PERIODIC, 6.0))
    with pytest.raises(DataError, match=r"the neighbours of a structure cannot be found: .*; correct its cell"):
        find_pairs(TWO, cell, PERIODIC, 6.0)


@pytest.mark.parametrize("far", [np.nan, np.inf, 1e5, 1e300])
def test_positions_that_cannot_be_searched_are_named(far):
    positions = np.array([[0.0, 0, 0], [0, 0, far]])
    assert cell_fault(positions, np.zeros((3, 3)), ~PERIODIC, 6.0)


@pytest.mark.parametrize("cutoff", [3.0, 6.0, 12.0])
@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Cu"),
        bulk("C", "diamond", a=3.57).repeat(6),
        bulk("Fe", cubic=True).repeat(8),
        graphene(vacuum=10.0),
        nanotube(6, 0, length=1),
        bulk("H", "sc", a=1.0),
    ],
    ids=["copper", "diamond", "iron", "graphene", "nanotube", "dense hydrogen"],
)
def test_real_structures_are_sound(atoms, cutoff):
    assert cell_fault(atoms.positions, atoms.cell.array, atoms.pbc, cutoff) is None


def test_a_long_structure_in_a_narrow_periodic_cell_is_sound():
    positions = np.random.default_rng(0).random((2000, 3)) * [5, 5, 900]
    assert cell_fault(positions, np.diag([5.0, 5.0, 0.0]), np.array([True, True, False]), 6.0) is None


def test_the_share_of_the_atoms_within_the_cutoff_is_taken_where_the_structure_is_not_periodic():
    wire = np.array([[0.0, 0, 0], [0, 40, 0], [3, 20, 100]])
    assert share_within(wire, np.eye(3)[:2], 5.0) == pytest.approx(10 / 100)
    assert share_within(wire, np.eye(3)[:1], 5.0) == pytest.approx(10 / 100 * 10 / 40)
    assert share_within(wire, np.eye(3)[:2], 60.0) == 1.0
    assert share_within(wire, np.eye(3), 5.0) == 1.0
