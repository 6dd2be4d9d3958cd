"""Checks of labels before they are stored: wrong labels of a structure, and teachers with wrong Hessian rows."""

import re
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from jointkd.errors import TeacherError
from jointkd.labelling.checker import LabelChecker, estimate_convergence
from jointkd.labelling.loop import label
from jointkd.labels.checks import Bounds, describe_failures
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.teachers.mace import from_checkpoint
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, frames_of, rows_of

FRAMES = frames_of(20)


@pytest.fixture
def store(tmp_path):
    return LabelStore.create(tmp_path / "labels", IDENTITY, SETTINGS)


class Wrong(NumberTeacher):
    """A teacher whose labels with rows are changed by a function; labels without rows stay correct.

    only: the key of the only structure whose labels change; empty: those of all.
    """

    def __init__(self, change: Callable[[TeacherLabels], TeacherLabels], only: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.change, self.only = change, only

    def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
        labels = super()._one(frame, ids)
        return self.change(labels) if len(ids) and self.only in ("", frame.key) else labels


def not_invariant_to_translation(labels: TeacherLabels) -> TeacherLabels:
    return replace(labels, hessian_rows=labels.hessian_rows + 1e-6)


def not_symmetric(labels: TeacherLabels) -> TeacherLabels:
    rows = labels.hessian_rows.copy()
    first, second = labels.directions[0] // 3, labels.directions[-1] // 3
    rows[0, second, labels.directions[-1] % 3] += 1e-6
    rows[0, first, labels.directions[-1] % 3] -= 1e-6  # so that the row still sums to zero
    return replace(labels, hessian_rows=rows)


def not_additive(labels: TeacherLabels) -> TeacherLabels:
    return replace(labels, energy=labels.energy + 1e-6)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (not_invariant_to_translation, "Hessian rows do not sum to zero over the atoms"),
        (not_symmetric, "the Hessian is not symmetric"),
        (not_additive, "atomic energies do not sum to the energy"),
    ],
)
@pytest.mark.parametrize("rows", [4, "all"])
def test_a_structure_with_wrong_labels_fails_with_the_reason_and_the_others_are_stored(
    store, caplog, change, problem, rows
):
    bad = FRAMES[4]
    label(FRAMES, rows_of(FRAMES, rows), Wrong(change, only=bad.key), store, shard_size=3)
    assert store.failed.keys() == {bad.key}
    assert store.failed[bad.key].startswith(f"{problem} (off by ")
    assert store.keys() == {frame.key for frame in FRAMES} - {bad.key}
    assert any("frame 4" in line and problem in line for line in caplog.messages)
    assert describe_failures(store.failed.values()) == f"1 because {problem}"


@pytest.mark.parametrize("factor", [-1.0, 27.2114, 1 / 0.529177])
def test_rows_of_the_wrong_sign_or_unit_end_the_run_before_labels_are_stored(store, factor):
    teacher = Wrong(lambda labels: replace(labels, hessian_rows=factor * labels.hessian_rows))
    with pytest.raises(TeacherError) as caught:
        label(FRAMES, rows_of(FRAMES), teacher, store)
    assert "Hessian rows of teacher numbers are not the derivatives of its forces" in caught.value.problem
    assert "frame 0" in caught.value.problem
    assert "sign" in caught.value.remedy
    assert not len(store)
    assert not store.failed


def test_forces_with_exchanged_axes_end_the_run(store):
    class Exchanged(NumberTeacher):
        def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
            labels = super()._one(frame, ids)
            return replace(labels, forces=labels.forces[:, [1, 2, 0]])  # this Hessian is the same for all axes

    with pytest.raises(TeacherError, match="not the derivatives of its forces"):
        label(FRAMES, rows_of(FRAMES), Exchanged(), store)


def test_energies_that_do_not_belong_to_the_forces_end_the_run(store):
    class Smeared(NumberTeacher):
        """Its energy lacks a part that depends on the structure."""

        def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
            labels = super()._one(frame, ids)
            free = self.identity.free_atoms_energy(frame.numbers)
            part = 0.8 * labels.atomic_energies
            return replace(labels, energy=float(part.sum() + free), atomic_energies=part)

    with pytest.raises(TeacherError, match=r"the forces of .* derivatives of its energies: .*; take the energy that"):
        label(FRAMES, rows_of(FRAMES), Smeared(), store)


def ripples(frame: Frame, ids: np.ndarray, wave: float) -> TeacherLabels:
    """E = Σ (1 - cos(wave · d)) / wave² over the components d of all vectors between atoms."""
    between = frame.positions[:, None] - frame.positions[None]
    count = len(frame)
    forces = -np.sin(wave * between).sum(1) / wave
    curvature = np.cos(wave * between)
    hessian = np.zeros((count, 3, count, 3))
    for axis in range(3):
        hessian[:, axis, :, axis] = np.diag(curvature[..., axis].sum(1)) - curvature[..., axis]
    energy = (1 - np.cos(wave * between)).sum() / wave**2 / 2
    rows = hessian.reshape(3 * count, count, 3)[ids]
    return TeacherLabels(float(energy), np.full(count, energy / count), forces, rows, ids)


class Rippled:
    """A teacher with sharp features. rows_error: a factor of its rows, which are exact at 1."""

    def __init__(self, wave: float, rows_error: float = 1.0, dtype: str = "float64") -> None:
        self.wave, self.rows_error = wave, rows_error
        self.identity = replace(IDENTITY, dtype=dtype, free_atom_energies={})

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        made = [ripples(frame, ids, self.wave) for frame, ids in zip(frames, directions, strict=True)]
        return [replace(labels, hessian_rows=self.rows_error * labels.hessian_rows) for labels in made]


@pytest.mark.parametrize(("dtype", "wave"), [("float64", 2e5), ("float32", 2e3)])
def test_exact_rows_of_a_potential_with_sharp_features_pass_at_a_shorter_step(dtype, wave):
    frame, ids = FRAMES[0], np.arange(3)
    teacher = Rippled(wave, dtype=dtype)
    checker = LabelChecker(teacher)
    assert checker.check(frame, teacher.label([frame], [ids])[0]) is None
    assert checker.compared
    teacher = Rippled(wave, rows_error=1.1, dtype=dtype)
    with pytest.raises(TeacherError, match="not the derivatives of its forces"):
        LabelChecker(teacher).check(frame, teacher.label([frame], [ids])[0])


class RippledDifferences(Rippled):
    """Its rows are central differences."""

    rows_precision = "differences"
    displacement = 2e-3

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        made = super().label(frames, directions)
        return [
            replace(labels, hessian_rows=self.rows(frame, ids, self.displacement))
            for frame, ids, labels in zip(frames, directions, made, strict=True)
        ]

    def rows(self, frame: Frame, directions: np.ndarray, displacement: float) -> np.ndarray:
        made = []
        for row in directions:
            step = np.zeros((len(frame), 3))
            step.flat[row] = displacement
            ahead, behind = (
                ripples(replace(frame, positions=frame.positions + s * step), directions, self.wave) for s in (1, -1)
            )
            made.append((behind.forces - ahead.forces) / (2 * displacement))
        return np.array(made)


@pytest.mark.parametrize(("wave", "coarse"), [(400.0, True), (20.0, False)])
def test_the_error_of_rows_by_finite_differences_is_estimated_and_a_better_step_named(caplog, wave, coarse):
    caplog.set_level("INFO")
    frame, ids = FRAMES[0], np.arange(3)
    teacher = RippledDifferences(wave)
    labels = teacher.label([frame], [ids])[0]
    estimate_convergence(teacher, frame, labels)
    true = float(np.abs(labels.hessian_rows - ripples(frame, ids, wave).hessian_rows).max())
    said = float(re.search(r"estimated error (\S+) eV", caplog.text)[1])
    assert said == pytest.approx(true, rel=0.1)
    assert ("teacher.displacement=" in caplog.text) == coarse


def test_rows_are_compared_with_finite_differences_once_in_a_run(store):
    without_rows = []

    class Counting(NumberTeacher):
        def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
            without_rows.extend(frame.source for frame, ids in zip(frames, directions, strict=True) if not len(ids))
            return super().label(frames, directions)

    label(FRAMES, rows_of(FRAMES), Counting(), store, shard_size=3)
    assert without_rows == ["frame 0, displaced"] * 4


def test_the_first_structure_with_rows_and_valid_labels_is_compared(store, tmp_path):
    rows = rows_of(FRAMES)
    rows[FRAMES[0].key] = rows[FRAMES[0].key][:0]
    teacher = Wrong(lambda labels: replace(labels, hessian_rows=-labels.hessian_rows), spoilt=FRAMES[1].key)
    with pytest.raises(TeacherError, match="frame 2"):
        label(FRAMES, rows, teacher, store)


def test_labels_in_float32_and_without_atomic_energies_pass_with_wider_bounds(tmp_path):
    def rounded(labels: TeacherLabels) -> TeacherLabels:
        rows = labels.hessian_rows.astype(np.float32) * np.float32(1 + 1e-6)
        return replace(labels, atomic_energies=np.zeros(0), forces=labels.forces.astype(np.float32), hessian_rows=rows)

    teacher = Wrong(rounded)
    teacher.identity = replace(IDENTITY, dtype="float32")
    store = LabelStore.create(tmp_path / "labels", teacher.identity, SETTINGS)
    label(FRAMES, rows_of(FRAMES, "all"), teacher, store)
    assert len(store) == len(FRAMES)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_labels_of_mace_models_pass_much_tighter_bounds(tiny_mace, dtype):
    teacher = from_checkpoint(str(tiny_mace), "tiny", dtype, "cpu", 128)
    checker = LabelChecker(teacher)
    checker.bounds = Bounds(*(0.03 * bound for bound in astuple(checker.bounds)[:-1]), step=checker.bounds.step)
    rng = np.random.default_rng(0)
    positions = np.array([[0, 0, 0], [1.1, 0, 0], [0, 1.2, 0.1], [1.0, 1.1, 1.0]]) + 0.1 * rng.normal(size=(4, 3))
    for periodic in (False, True):
        frame = Frame(np.array([6, 1, 8, 1]), positions, 3.1 * np.eye(3) * periodic, np.full(3, periodic))
        checker.compared = False
        (labels,) = teacher.label([frame], [np.arange(12)])
        assert checker.check(frame, labels) is None
        assert checker.compared


def test_if_the_teacher_fails_on_a_displaced_structure_another_structure_is_compared(store, caplog):
    class Fragile(NumberTeacher):
        def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
            labels = super()._one(frame, ids)
            return replace(labels, forces=np.nan * labels.forces) if frame.source == "frame 0, displaced" else labels

    label(FRAMES, rows_of(FRAMES), Fragile(), store)
    assert len(store) == len(FRAMES)
    assert [line for line in caplog.messages if "frame 0: numbers fails on a slightly displaced copy" in line]
