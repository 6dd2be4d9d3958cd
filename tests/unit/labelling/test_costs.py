import numpy as np
import pytest
import torch

from jointkd.labelling.costs import label_bytes, labelling_time, power_law, rounding
from jointkd.labelling.formats import format_bytes
from jointkd.labels.records import Spread, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.teachers.mace import from_checkpoint
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, frames_of, rows_of


class Timed(NumberTeacher):
    """Takes a time for each structure and one for each pass over rows, both growing with the atoms."""

    batch_atoms = 13
    now = 0.0

    def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
        passes = max(map(len, row_ids))  # one for a row of each
        self.now += sum(0.001 * len(frame) + 0.0002 * len(frame) ** 2 * passes for frame in frames)
        return super().label(frames, row_ids)


@pytest.fixture
def timed(monkeypatch) -> Timed:
    """By a clock of its own."""
    teacher = Timed()
    monkeypatch.setattr("jointkd.labelling.costs.time.perf_counter", lambda: teacher.now)
    return teacher


def test_the_time_is_fitted_to_few_rows_of_three_sizes_and_says_so(timed):
    rng = np.random.default_rng(0)
    frames = [Frame(np.ones(n, dtype=int), rng.normal(size=(n, 3))) for n in range(3, 13)]
    rows = {frame.key: np.arange(3 * len(frame)) for frame in frames}
    expected = sum(0.001 * len(frame) + 0.0002 * len(frame) ** 2 * len(rows[frame.key]) for frame in frames)
    found, based = labelling_time(frames, rows, timed)
    assert found == pytest.approx(expected, rel=0.02)
    assert based.startswith("from structures of 4, 8, 11 atoms: ")
    assert based.endswith(" s a row")


def test_the_time_of_a_row_does_not_depend_on_which_rows_the_timed_structures_are_to_get(timed):
    rng = np.random.default_rng(0)
    frames = [Frame(np.ones(6, dtype=int), rng.normal(size=(6, 3))) for _ in range(10)]
    rows = {frame.key: np.arange(2 if number % 3 else 18) for number, frame in enumerate(frames)}
    expected = sum(0.001 * 6 + 0.0002 * 36 * len(ids) for ids in rows.values())
    assert labelling_time(frames, rows, timed)[0] == pytest.approx(expected, rel=0.02)


def test_structures_without_rows_have_a_time_too(timed):
    frames = frames_of(5)
    found, _ = labelling_time(frames, {frame.key: np.arange(0) for frame in frames}, timed)
    assert found == pytest.approx(0.001 * sum(map(len, frames)), rel=0.1)


def test_a_power_is_fitted_only_where_sizes_differ_and_is_kept_within_reason():
    assert power_law([10, 20, 40], [100, 400, 1600])(30) == pytest.approx(900)
    assert power_law([22, 22, 24], [1.0, 1.1, 5.0])(44) == pytest.approx(
        2 * power_law([22, 22, 24], [1.0, 1.1, 5.0])(22)
    )
    assert power_law([10, 20, 40], [1, 100, 10000])(80) < 10 * power_law([10, 20, 40], [1, 100, 10000])(40)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [0, 4, "all"])
@pytest.mark.parametrize("spread", [False, True])
def test_bytes_are_those_of_the_files_within_a_tenth(tmp_path, dtype, rows, spread):
    frames = frames_of(16)
    store = LabelStore.create(tmp_path / "labels", IDENTITY, SETTINGS)
    labels = {}
    for frame, ids in zip(frames, rows_of(frames, rows).values(), strict=True):
        n = len(frame)
        apart = Spread(0.0, np.zeros(n), np.zeros((n, 3), dtype)) if spread else None
        labels[frame.key] = TeacherLabels(
            0.0, np.zeros(n), np.zeros((n, 3), dtype), np.zeros((len(ids), n, 3), dtype), ids, apart
        )
    written = store.append(labels).stat().st_size
    told = sum(label_bytes(frame, len(labels[frame.key].row_ids), dtype, spread) for frame in frames)
    assert told == pytest.approx(written, rel=0.1)


def test_bytes_are_said_in_units_that_suit_them():
    assert [format_bytes(size) for size in (906_000, 99_900_000, 2_500_000_000)] == ["0.906 MB", "99.9 MB", "2.5 GB"]


def test_what_single_precision_takes_is_measured_and_said(tiny_mace):
    single, double = (from_checkpoint(str(tiny_mace), "tiny", dtype, "cpu", 64) for dtype in ("float32", "float64"))
    frames = [Frame(np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.9, 0.3, 0], [-0.9, 0.3, 0.1]]), source="water")]
    told = rounding(single, double, frames)
    assert "labels in float32 differ from those in float64 by " in told
    assert "(water, 3 atoms, 8 rows; the largest entry is " in told
    numbers = [float(word) for word in told.split() if "e-" in word]
    assert len(numbers) == 3
    assert all(0 < number < 1e-3 for number in numbers)


def test_where_memory_does_not_suffice_for_double_precision_that_is_said(tiny_mace, monkeypatch):
    single, double = (from_checkpoint(str(tiny_mace), "tiny", dtype, "cpu", 64) for dtype in ("float32", "float64"))

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(double, "label", exhausted)
    frames = [Frame(np.array([8, 1, 1]), np.array([[0.0, 0, 0], [0.9, 0.3, 0], [-0.9, 0.3, 0.1]]), source="water")]
    assert "is not known: memory does not suffice for it (3 atoms)" in rounding(single, double, frames)
