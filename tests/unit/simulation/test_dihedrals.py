"""Which atoms turn about a bond, and what is refused."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jointkd.errors import ConfigError, DataError
from jointkd.simulation.dihedrals import Dihedral, collisions, rotatable
from jointkd.structures.bonds import find_bonds
from jointkd.structures.neighbors import lengths

ETHANOL = molecule("CH3CH2OH")  # C0–C1–O2–H3; H6, H7 and H8 at C0, H4 and H5 at C1


def dihedral(atoms, four):
    return Dihedral.of(atoms, four, "start.xyz")


def test_the_atoms_on_the_side_of_the_third_turn_and_the_others_stay():
    found = dihedral(ETHANOL, [6, 0, 1, 2])
    assert found.turning.tolist() == [1, 2, 3, 4, 5]
    turned = found.turned(ETHANOL, 77.0)
    assert found.angle(turned) == pytest.approx(77.0)
    np.testing.assert_array_equal(turned.positions[[0, 6, 7, 8]], ETHANOL.positions[[0, 6, 7, 8]])
    np.testing.assert_allclose(turned.positions[1], ETHANOL.positions[1], atol=1e-12)  # it is on the axis
    assert np.linalg.norm(turned.positions[2] - ETHANOL.positions[2]) > 0.1


def test_a_rotation_keeps_all_bonds_and_a_full_turn_is_none():
    found = dihedral(ETHANOL, [0, 1, 2, 3])
    turned = found.turned(ETHANOL, 200.0)
    bonds = find_bonds(ETHANOL.numbers, ETHANOL.positions, ETHANOL.cell.array, ETHANOL.pbc)
    np.testing.assert_allclose(*(lengths(bonds, atoms.positions, atoms.cell.array) for atoms in (turned, ETHANOL)))
    back = found.turned(turned, found.angle(ETHANOL) + 360.0)
    np.testing.assert_allclose(back.positions, ETHANOL.positions, atol=1e-9)


def test_another_molecule_does_not_turn_along():
    water = molecule("H2O")
    water.positions += 8.0
    assert dihedral(ETHANOL + water, [0, 1, 2, 3]).turning.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("four", "message"),
    [
        ([0, 1, 2], "must be four integers"),
        ([0, 1, 2, True], "must be four integers"),
        ([0, 1, 2, 9], "start.xyz has 9 atoms, but no atom 9"),
        ([0, 1, 2, -1], "no atom -1"),
        ([0, 1, 2, 1], "names an atom twice"),
        ([0, 1, 3, 2], "C1 and H3 of start.xyz are not bonded (1.9"),
        ([6, 1, 2, 3], "H6 and C1 of start.xyz are not bonded"),
    ],
)
def test_atoms_that_make_no_dihedral_are_refused(four, message):
    with pytest.raises(ConfigError) as error:
        dihedral(ETHANOL, four)
    assert message in str(error.value)


def test_a_bond_of_a_ring_is_refused():
    with pytest.raises(ConfigError, match=r"the bond C1–C2 of start\.xyz is part of a ring"):
        dihedral(molecule("C6H6"), [0, 1, 2, 3])


def test_atoms_on_a_line_and_periodic_structures_are_refused():
    propyne = molecule("C3H4_C3v")
    chain = sorted((atom.index for atom in propyne if atom.symbol == "C"), key=lambda atom: propyne.positions[atom, 2])
    hydrogens = [atom.index for atom in propyne if atom.symbol == "H"]
    methyl = min(chain, key=lambda atom: -sum(propyne.get_distance(atom, h) < 1.2 for h in hydrogens))
    near = sorted(chain, key=lambda atom: propyne.get_distance(methyl, atom))
    hydrogen = next(h for h in hydrogens if propyne.get_distance(methyl, h) < 1.2)
    with pytest.raises(DataError, match="lie on a line"):
        dihedral(propyne, [hydrogen, *near])
    with pytest.raises(DataError, match="is periodic"):
        dihedral(bulk("Si", cubic=True), [0, 1, 2, 3])


def test_rotatable_bonds_are_those_outside_rings_with_neighbours_at_both_ends():
    assert [each.atoms for each in rotatable(ETHANOL)] == [(6, 0, 1, 2), (0, 1, 2, 3)]
    assert list(rotatable(molecule("C6H6"))) == []
    assert list(rotatable(molecule("C3H4_C3v"))) == []  # a linear end has no plane


def test_structures_in_which_a_turn_makes_atoms_collide_are_counted():
    found = dihedral(ETHANOL, [0, 1, 2, 3])
    turned = [found.turned(ETHANOL, angle) for angle in range(0, 360, 30)]
    assert collisions(turned, ETHANOL) == 0
    there = turned[4].positions
    crowded = ETHANOL + Atoms("He", [there[3] + 0.5 * (there[3] - there[2])])  # in the way of the hydroxyl's hydrogen
    found = dihedral(crowded, [0, 1, 2, 3])
    assert collisions([found.turned(crowded, angle) for angle in range(0, 360, 30)], crowded) == 1
