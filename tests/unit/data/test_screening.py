"""Structures that are unfit for training are quarantined and counted; wrong units of length are refused."""

from dataclasses import replace

import numpy as np
import pytest
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
        (spoilt(numbers=np.array([8, 1, 0])), "an atom is of no element (a dummy atom, X)"),
        (spoilt(fault="its reader says so"), "its reader says so"),
        (
            spoilt(cell=np.diag([3.0, 3.0, 1e-3]), pbc=np.ones(3, bool), positions=water(0.9)),
            "its cell is so small that an atom would have more than 5000 neighbours within 6 Å",
        ),
        (spoilt(cell=np.eye(3) * 1e200, pbc=np.ones(3, bool)), "a coordinate or lattice vector exceeds 10000 Å"),
        (spoilt(pbc=np.array([False, True, False])), "it is periodic along b and has no lattice vector there"),
        (
            spoilt(cell=np.ones((3, 3)) * 5, pbc=np.ones(3, bool)),
            "its lattice vectors are linearly dependent",
        ),
        (replace(frames(1)[0], energy=-1.0), "the same structure occurs with another energy"),
        (replace(frames(1)[0], info={"charge": 1}), "the same structure occurs with another charge"),
        (spoilt(positions=water(0.1)), "two atoms are closer than 0.3 Å"),
        (spoilt(positions=water(9.9), cell=10 * np.eye(3), pbc=np.ones(3, bool)), "two atoms are closer than 0.3 Å"),
        (replace(frames(1)[0], source="again"), "the same structure occurs twice"),
        (replace(frames(1)[0], source="again", energy=None), "the same structure occurs twice"),
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


def test_a_structure_without_atoms_is_quarantined():
    nothing = Frame(np.zeros(0, dtype=np.int64), np.zeros((0, 3)), forces=np.zeros((0, 3)))
    assert [entry.reason for entry in screened([*frames(3), nothing])[1]] == ["it has no atoms"]


def test_a_structure_whose_labels_come_second_says_which_file_to_read_first():
    first = replace(frames(1)[0], energy=None)
    _, (rejected,) = screened([first, *frames(3)])
    assert rejected.reason == (
        "the same structure occurs twice, first without an energy: let the file with labels be read first"
    )
