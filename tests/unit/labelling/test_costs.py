"""Estimates of size and time of labels, and of the errors of single precision."""

import numpy as np
import pytest
import torch

from jointkd.labelling.costs import compare_precisions, label_bytes, labelling_time, power_law
from jointkd.labelling.formats import format_bytes
from jointkd.labels.records import Spread, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.teachers.mace import from_checkpoint
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, frames_of, probes_of, rows_of


class Timed(NumberTeacher):
    """A teacher that takes a time per structure and a time per backward pass, both increasing with the atoms."""

    batch_atoms = 13
    now = 0.0

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        passes = max(map(len, directions))  # a backward pass gives one row of each structure
        self.now += sum(0.001 * len(frame) + 0.0002 * len(frame) ** 2 * passes for frame in frames)
        return super().label(frames, directions)


@pytest.fixture
def timed(monkeypatch) -> Timed:
    """Such a teacher, by a clock of its own."""
    teacher = Timed()
    monkeypatch.setattr("jointkd.labelling.costs.time.perf_counter", lambda: teacher.now)
    return teacher


def test_the_time_is_estimated_from_structures_of_three_sizes_which_are_named(timed):
    rng = np.random.default_rng(0)
    frames = [Frame(np.ones(n, dtype=int), rng.normal(size=(n, 3))) for n in range(3, 13)]
    rows = {frame.key: np.arange(3 * len(frame)) for frame in frames}
    expected = sum(0.001 * len(frame) + 0.0002 * len(frame) ** 2 * len(rows[frame.key]) for frame in frames)
    seconds, basis = labelling_time(frames, rows, timed)
    assert seconds == pytest.approx(expected, rel=0.02)
    assert basis.startswith("from structures of 4, 8, 11 atoms: ")
    assert basis.endswith(" s per row")


def test_the_time_of_a_row_does_not_depend_on_the_choice_of_rows_of_the_timed_structures(timed):
    rng = np.random.default_rng(0)
    frames = [Frame(np.ones(6, dtype=int), rng.normal(size=(6, 3))) for _ in range(10)]
    rows = {frame.key: np.arange(2 if number % 3 else 18) for number, frame in enumerate(frames)}
    expected = sum(0.001 * 6 + 0.0002 * 36 * len(ids) for ids in rows.values())
    assert labelling_time(frames, rows, timed)[0] == pytest.approx(expected, rel=0.02)


def test_the_time_of_structures_without_rows_is_estimated_too(timed):
    frames = frames_of(5)
    seconds, _ = labelling_time(frames, {frame.key: np.arange(0) for frame in frames}, timed)
    assert seconds == pytest.approx(0.001 * sum(map(len, frames)), rel=0.1)


def test_a_power_is_fitted_only_if_sizes_differ_and_stays_within_its_range():
    assert power_law([10, 20, 40], [100, 400, 1600])(30) == pytest.approx(900)
    assert power_law([22, 22, 24], [1.0, 1.1, 5.0])(44) == pytest.approx(
        2 * power_law([22, 22, 24], [1.0, 1.1, 5.0])(22)
    )
    assert power_law([10, 20, 40], [1, 100, 10000])(80) < 10 * power_law([10, 20, 40], [1, 100, 10000])(40)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [0, 4, "all", "probes"])
@pytest.mark.parametrize("spread", [False, True])
def test_the_estimated_size_is_that_of_the_files_within_a_tenth(tmp_path, dtype, rows, spread):
    frames = frames_of(16)
    store = LabelStore.create(tmp_path / "labels", IDENTITY, SETTINGS)
    labels, chosen = {}, probes_of(frames, 4) if rows == "probes" else rows_of(frames, rows)
    for frame, ids in zip(frames, chosen.values(), strict=True):
        n = len(frame)
        apart = Spread(0.0, np.zeros(n), np.zeros((n, 3), dtype)) if spread else None
        labels[frame.key] = TeacherLabels(
            0.0, np.zeros(n), np.zeros((n, 3), dtype), np.zeros((len(ids), n, 3), dtype), ids, apart
        )
    written = store.append(labels).stat().st_size
    estimated = sum(label_bytes(frame, labels[frame.key].directions, dtype, spread) for frame in frames)
    assert estimated == pytest.approx(written, rel=0.1)


def test_sizes_are_given_in_readable_units():
    assert [format_bytes(size) for size in (906_000, 99_900_000, 2_500_000_000)] == ["0.906 MB", "99.9 MB", "2.5 GB"]


def test_the_errors_of_single_precision_are_measured_on_one_structure(tiny_mace):
    single, double = (from_checkpoint(str(tiny_mace), "tiny", dtype, "cpu", 64) for dtype in ("float32", "float64"))
    frames = [Frame(np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.9, 0.3, 0], [-0.9, 0.3, 0.1]]), source="water")]
    text = compare_precisions(single, double, frames)
    assert "labels in float32 differ from those in float64 by " in text
    assert "(water, 3 atoms, 8 rows; the largest entry is " in text
    numbers = [float(word) for word in text.split() if "e-" in word]
    assert len(numbers) == 3
    assert all(0 < number < 1e-3 for number in numbers)


def test_without_enough_memory_for_double_precision_the_reason_is_given(tiny_mace, monkeypatch):
    single, double = (from_checkpoint(str(tiny_mace), "tiny", dtype, "cpu", 64) for dtype in ("float32", "float64"))

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(double, "label", exhausted)
    frames = [Frame(np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.9, 0.3, 0], [-0.9, 0.3, 0.1]]), source="water")]
    expected = "were not compared with those in float64: there is not enough memory for it (water, 3 atoms, 8 rows)"
    assert expected in compare_precisions(single, double, frames)
