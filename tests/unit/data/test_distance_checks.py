"""A wrong unit of length is refused by the distances of nearest neighbours; right data are not."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from jointkd.data.distance_checks import check_distances
from jointkd.errors import DataError
from jointkd.structures.frame import Frame
from tests.files import frames

BOHR = 0.529177
CAUSES = {0.1: "nm had been read as Å", BOHR: "Å had been read as bohr", 1 / BOHR: "bohr had been read as Å"}


def crystals(scale: float = 1.0) -> list[Frame]:
    return [
        Frame(atoms.numbers.astype(int), atoms.positions * scale, atoms.cell.array * scale, atoms.pbc, source="frame 0")
        for atoms in (bulk("Cu"), bulk("Mo"), bulk("NaCl", "rocksalt", a=5.64), bulk("Mo").repeat(3))
    ]


@pytest.mark.parametrize("scale", [*CAUSES, 10.0])
def test_molecules_in_a_wrong_unit_of_length_are_refused_with_the_likely_one(scale):
    cause = CAUSES.get(scale, "Å had been read as nm")
    wrong = [replace(frame, positions=frame.positions * scale) for frame in frames(9)]
    with pytest.raises(DataError, match=rf"frame 0 and others are .* as if {cause}; set data.units.length"):
        check_distances(wrong)


@pytest.mark.parametrize("scale", [BOHR, 1 / BOHR])
def test_crystals_in_a_wrong_unit_of_length_are_refused(scale):
    check_distances(crystals())
    with pytest.raises(DataError, match=rf"as if {CAUSES[scale]}; set data.units.length"):
        check_distances(crystals(scale))


def test_supercells_read_as_nanometres_are_refused():
    atoms = bulk("NaCl", "rocksalt", a=5.64).repeat(2)
    wrong = Frame(atoms.numbers.astype(int), atoms.positions * 10, atoms.cell.array * 10, atoms.pbc)
    with pytest.raises(DataError, match=r"as if Å had been read as nm"):
        check_distances([wrong])


@pytest.mark.parametrize("apart", [2.0, 5.0, 7.0, 15.0])
def test_pairs_that_are_drawn_apart_noble_gases_and_isolated_atoms_pass(apart):
    argon = bulk("Ar", "fcc", a=5.26)
    crystal = Frame(argon.numbers.astype(int), argon.positions, argon.cell.array, argon.pbc)
    pair = Frame(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, apart]]))
    boxed = Frame(np.array([6]), np.zeros((1, 3)), np.eye(3) * apart * 5, np.ones(3, bool))
    check_distances([crystal])
    check_distances([pair])
    check_distances([boxed])
    check_distances([Frame(np.array([1]), np.zeros((1, 3)))])
    check_distances([])
