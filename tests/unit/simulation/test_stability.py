"""What happens to a structure: deviating bonds, rearrangements, fragments and contacts, each told apart."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from jointkd.simulation.stability import CONTACT, DEVIATION, FRAGMENTS, NOT_FINITE, REARRANGEMENT, Stability

TOLERANCE, NEAR = 0.5, 0.6  # the defaults


def watch(atoms: Atoms, equilibrium: dict[str, float] | None = None) -> Stability:
    return Stability(atoms, TOLERANCE, NEAR, equilibrium or {})


def iodine(length: float) -> Atoms:
    return Atoms("I2", [[0, 0, 0], [0, 0, length]])


def hydroxonium(where: float) -> Atoms:
    """H5O2, O and O 2.4 Å apart, with a proton between that is so far from the first, Å."""
    first = Atoms("OH2", [[0, 0, 0], [-0.5, 0.8, 0], [-0.5, -0.8, 0]])
    second = Atoms("OH2", [[2.4, 0, 0], [2.9, 0.8, 0], [2.9, -0.8, 0]])
    return first + second + Atoms("H", [[where, 0, 0]])


@pytest.mark.parametrize("length", [2.67 - 0.55, 2.67 + 0.55])
def test_a_bond_that_is_longer_or_shorter_than_its_equilibrium_by_more_than_the_tolerance_deviates(length):
    (event,) = watch(iodine(2.67)).events(iodine(length))
    assert (event.kind, event.atoms) == (DEVIATION, (0, 1))
    assert event.description == f"the bond I0-I1 is {length:.2f} Å long, 2.67 Å in equilibrium"
    assert watch(iodine(2.67)).deviation(iodine(length)) == pytest.approx(0.55)


def test_of_several_bonds_that_deviate_the_worst_is_described_and_the_others_are_counted():
    chain = Atoms("I3", [[0, 0, 0], [0, 0, 2.67], [0, 0, 5.34]])
    stretched = Atoms("I3", [[0, 0, 0], [0, 0, 3.27], [0, 0, 6.64]])  # by 0.6 and by 0.7 Å
    (event,) = watch(chain).events(stretched)
    assert (event.kind, event.atoms) == (DEVIATION, (1, 2))
    assert event.description.endswith("3.37 Å long, 2.67 Å in equilibrium, the most of 2 bonds that deviate")


@pytest.mark.parametrize("length", [2.67 - 0.45, 2.67 + 0.45])
def test_a_bond_within_the_tolerance_does_not_deviate(length):
    assert watch(iodine(2.67)).events(iodine(length)) == []


def test_lengths_of_the_training_data_count_instead_of_those_of_the_start():
    stretched = iodine(3.0)
    stability = watch(stretched, {"I1-I1": 2.67, "C4-H1": 1.09})
    assert stability.from_training == 1
    assert stability.deviation(stretched) == pytest.approx(0.33)
    assert watch(stretched, {"C4-H1": 1.09}).from_training == 0


def test_bonds_across_a_boundary_are_measured_to_the_image_that_they_lead_to():
    split = Atoms("I2", [[0, 0, 0.3], [0, 0, 9.0 - 2.37]], cell=[9, 9, 9], pbc=True)
    stability = watch(split)
    assert stability.deviation(split) == 0.0
    split.positions[1, 2] += 0.3
    assert stability.deviation(split) == pytest.approx(0.3)
    split.positions += [0, 0, 45.0]  # atoms that leave their cell
    assert stability.deviation(split) == pytest.approx(0.3)


def test_a_proton_that_hops_is_a_rearrangement_and_its_new_bond_is_watched():
    stability = watch(hydroxonium(1.0))
    (event,) = stability.events(hydroxonium(1.51))
    assert event.kind == REARRANGEMENT
    assert event.atoms == (0, 3, 6)
    assert event.description == ("the bond O0-H6 is 1.51 Å long, 1.00 Å in equilibrium, O3-H6 is formed")
    assert stability.events(hydroxonium(1.4)) == []
    (back,) = stability.events(hydroxonium(0.9))
    assert back.kind == REARRANGEMENT


def test_a_proton_on_its_way_is_a_deviation_and_a_lost_one_a_fragment():
    apart = hydroxonium(1.0)
    apart.positions[3:6, 0] += 0.5
    stability = watch(apart)
    moved = apart.copy()
    moved.positions[6, 0] = 1.55  # 1.35 Å from the other oxygen: nearer than atoms that let go, farther than a bond
    assert [event.kind for event in stability.events(moved)] == [DEVIATION]
    moved.positions[6, 1] = 4.0
    (event,) = stability.events(moved)
    assert event.kind == FRAGMENTS
    assert event.atoms == (0, 6)
    assert event.description.startswith("3 molecules instead of 2: the bond O0-H6 is 4.29 Å long")


def test_a_molecule_that_falls_apart_is_fragments_with_the_bond_between_them():
    ethanol = molecule("CH3CH2OH")
    stability = watch(ethanol)
    carbons, (oxygen,) = np.flatnonzero(ethanol.numbers == 6), np.flatnonzero(ethanol.numbers == 8)
    hydroxyl = [int(oxygen), int(np.argmin(ethanol.get_distances(oxygen, np.flatnonzero(ethanol.numbers == 1)))) + 3]
    axis = ethanol.positions[oxygen] - ethanol.positions[carbons].mean(axis=0)
    ethanol.positions[hydroxyl] += 2.0 * axis / np.linalg.norm(axis)
    (event,) = stability.events(ethanol)
    assert event.kind == FRAGMENTS
    assert set(event.atoms) == {int(oxygen), int(min(carbons, key=lambda c: ethanol.get_distance(c, oxygen)))}
    assert event.description.startswith("2 molecules instead of 1: the bond C")


def test_atoms_that_collide_are_a_contact_whether_they_are_bonded_or_not():
    pair = molecule("H2O") + molecule("H2O")
    pair.positions[3:] += [0, 0, 3]
    stability = watch(pair)
    pair.positions[3:] -= [0, 0, 2.4]
    contacts = [event for event in stability.events(pair) if event.kind == CONTACT]
    assert contacts[0].atoms == (0, 3)
    assert contacts[0].description == "O0 and O3 are 0.60 Å apart"
    water = molecule("H2O")
    stability = watch(water)
    water.set_distance(0, 1, 0.5, fix=0)
    assert [event.kind for event in stability.events(water)] == [CONTACT]


def test_positions_that_are_not_finite_are_named():
    ethanol = molecule("CH3CH2OH")
    stability = watch(ethanol)
    ethanol.positions[2] = np.nan
    (event,) = stability.events(ethanol)
    assert (event.kind, event.atoms) == (NOT_FINITE, (2,))
    assert stability.deviation(ethanol) == np.inf


def test_a_crystal_that_vibrates_is_stable():
    crystal = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    stability = watch(crystal)
    crystal.rattle(0.1, seed=0)
    assert stability.events(crystal) == []
    single = bulk("Cu")
    assert watch(single).events(single) == []
    assert watch(Atoms("Ar2", [[0, 0, 0], [0, 0, 4]])).events(Atoms("Ar2", [[0, 0, 0], [0, 0, 9]])) == []
