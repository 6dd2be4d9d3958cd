"""Structures that are unfit for training are quarantined and counted; wrong units of length are refused."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read

from jointkd.data.screening import Rejected, Screening, quarantine
from jointkd.errors import DataError
from jointkd.structures.frame import Frame
from tests.files import frames


def screened(some: list[Frame]) -> tuple[list[Frame], list[Rejected]]:
    screening = Screening(50)
    passed = list(screening(iter(some)))
    screening.check_share(len(passed))
    return passed, screening.rejected


def spoilt(**changes) -> Frame:
    return replace(frames(1, seed=9)[0], source="the bad one", **changes)


def forces(value: float) -> np.ndarray:
    """Forces of three atoms with one component that is not zero."""
    components = np.zeros((3, 3))
    components[1, 2] = value
    return components


def water(x: float) -> np.ndarray:
    return np.array([[0, 0, 0], [x, 0, 0], [0, 0.96, 0]])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (spoilt(energy=float("nan")), "the energy is not finite"),
        (spoilt(forces=forces(np.inf)), "forces are not finite"),
        (spoilt(forces=forces(-51.0)), "a force is larger than data.max_force=50 eV/Å"),
        (spoilt(positions=water(np.nan)), "positions or lattice vectors are not finite"),
        (spoilt(positions=water(0.1)), "two atoms are closer than 0.3 Å"),
        (spoilt(positions=water(9.9), cell=10 * np.eye(3), pbc=np.ones(3, bool)), "two atoms are closer than 0.3 Å"),
        (replace(frames(1)[0], source="again"), "the same structure occurs twice"),
        (replace(frames(1)[0], split="test"), "the same structure occurs twice, as no split and as test"),
    ],
)
def test_a_bad_frame_is_quarantined_with_its_reason(tmp_path, bad, reason):
    good = frames(8)
    sound, rejected = screened([*good, bad])
    assert sound == good
    assert [(entry.frame, entry.reason) for entry in rejected] == [(bad, reason)]
    quarantine(rejected, tmp_path / "quarantine.xyz")
    (written,) = read(tmp_path / "quarantine.xyz", index=":")
    assert written.info["reason"] == reason
    assert written.info["source"] == bad.source
    np.testing.assert_array_equal(written.numbers, bad.numbers)


def test_no_file_is_written_if_no_frame_is_rejected(tmp_path):
    sound, rejected = screened(frames(5))
    assert len(sound) == 5
    quarantine(rejected, tmp_path / "quarantine.xyz")
    assert not list(tmp_path.iterdir())


def test_a_file_is_refused_if_half_of_its_structures_are_unusable():
    good = frames(4)
    bad = [replace(frame, forces=frame.forces + 99) for frame in frames(4, seed=1)]
    assert len(screened([*good, *bad[:3]])[0]) == 4
    with pytest.raises(DataError, match=r"4 of 8 structures are unusable, 4 because a force is larger"):
        screened([*good, *bad])


@pytest.mark.parametrize("scale", [0.1, 1 / 0.529177, 0.529177])
def test_molecules_in_a_wrong_unit_of_length_are_refused(scale):
    wrong = [replace(frame, positions=frame.positions * scale) for frame in frames(9)]
    with pytest.raises(DataError, match=r"frame 0 and others are .* set data.units.length"):
        screened(wrong)


@pytest.mark.parametrize("scale", [0.1, 1.0, 1 / 0.529177])
def test_crystals_in_a_wrong_unit_of_length_are_refused(scale):
    crystals = [bulk("Cu"), bulk("Si"), bulk("NaCl", "rocksalt", a=5.64), bulk("Fe")]
    wrong = [
        Frame(atoms.numbers.astype(int), atoms.positions * scale, atoms.cell.array * scale, atoms.pbc, source="frame 0")
        for atoms in crystals
    ]
    if scale == 1.0:
        assert len(screened(wrong)[0]) == 4
    else:
        with pytest.raises(DataError, match=r"set data.units.length"):
            screened(wrong)


def test_noble_gases_and_isolated_atoms_pass():
    argon = bulk("Ar", "fcc", a=5.26)
    crystal = Frame(argon.numbers.astype(int), argon.positions, argon.cell.array, argon.pbc)
    alone = Frame(np.array([1]), np.zeros((1, 3)))
    assert len(screened([crystal, alone])[0]) == 2
