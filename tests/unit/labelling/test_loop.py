import logging
import re
from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
import torch

from jointkd.errors import TeacherError
from jointkd.labelling.batching import Batching
from jointkd.labelling.loop import QUIET, Inspector, Progress, commit, label
from jointkd.labels.checks import Bounds, counted
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from jointkd.teachers.mace import from_checkpoint
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, calls_in, frames_of, rows_of

FRAMES = frames_of(20)


@pytest.fixture
def store(tmp_path):
    return LabelStore.create(tmp_path / "labels", IDENTITY, SETTINGS)


def test_every_structure_gets_its_labels_and_the_rows_chosen_for_it(store):
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size=3)
    expected = NumberTeacher().label(FRAMES, list(rows_of(FRAMES).values()))
    assert store.keys() == {frame.key for frame in FRAMES}
    for frame, want in zip(FRAMES, expected, strict=True):
        found = store.read(frame.key)
        assert found.energy == want.energy
        np.testing.assert_array_equal(found.hessian_rows, want.hessian_rows)
        np.testing.assert_array_equal(found.row_ids, rows_of(FRAMES)[frame.key])


@pytest.mark.parametrize(("shard_size", "shards"), [(1, 20), (3, 7), (20, 1), (100, 1)])
def test_a_file_holds_as_many_structures_as_asked(store, shard_size, shards):
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size)
    assert len(list((store.path / "shards").iterdir())) == shards


@pytest.mark.parametrize("gpu", [False, True])
def test_labelling_on_a_processor_keeps_freed_memory(store, monkeypatch, gpu):
    kept = []
    monkeypatch.setattr("jointkd.labelling.loop.keep_freed_memory", lambda: kept.append(True))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    label([], {}, NumberTeacher(), store)
    assert bool(kept) is not gpu


def test_what_is_labelled_is_not_labelled_again(store, tmp_path):
    teacher = NumberTeacher(calls=tmp_path / "calls")
    label(FRAMES[:7], rows_of(FRAMES), teacher, store, shard_size=3)
    label(FRAMES, rows_of(FRAMES), teacher, store, shard_size=3)
    label(FRAMES, rows_of(FRAMES), teacher, store, shard_size=5)
    assert sorted(calls_in(tmp_path / "calls")) == sorted(frame.key for frame in FRAMES)


def test_a_damaged_and_deleted_shard_alone_is_labelled_again(store, tmp_path):
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size=3)
    whole = store.content_hash()
    next((store.path / "shards").iterdir()).unlink()
    again = LabelStore.open(store.path)
    label(FRAMES, rows_of(FRAMES), NumberTeacher(calls=tmp_path / "calls"), again, shard_size=3)
    assert 2 <= len(calls_in(tmp_path / "calls")) <= 3
    assert again.content_hash() == whole


def test_a_structure_without_finite_labels_fails_alone_with_a_reason_and_once(store, tmp_path, caplog):
    bad = FRAMES[4]
    teacher = NumberTeacher(calls=tmp_path / "calls", spoilt=bad.key)
    label(FRAMES, rows_of(FRAMES), teacher, store, shard_size=3)
    assert store.failed == {bad.key: "the teacher's labels are not finite"}
    assert store.keys() == {frame.key for frame in FRAMES} - {bad.key}
    assert any("frame 4" in record.message for record in caplog.records)
    label(FRAMES, rows_of(FRAMES), teacher, LabelStore.open(store.path), shard_size=3)
    assert calls_in(tmp_path / "calls").count(bad.key) == 1


def test_an_element_that_the_teacher_does_not_know_is_refused_before_any_work(store, tmp_path):
    strange = Frame(np.array([1, 53]), np.zeros((2, 3)), source="iodine.xyz, frame 7")
    with pytest.raises(TeacherError) as caught:
        label([*FRAMES, strange], rows_of([*FRAMES, strange]), NumberTeacher(calls=tmp_path / "calls"), store)
    assert "numbers does not know I (iodine.xyz, frame 7)" in caught.value.problem
    assert "it knows H C O" in caught.value.remedy
    assert not calls_in(tmp_path / "calls")
    assert not len(store)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


def test_a_batch_log_gets_a_line_for_every_tenth_with_the_rate_and_the_time_left(store, caplog, monkeypatch):
    now = 100.0

    class Timed(NumberTeacher):
        """Time passes only while it labels: 0.05 s for each structure with rows."""

        def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
            nonlocal now
            now += 0.05 * bool(len(ids))
            return super()._one(frame, ids)

    monkeypatch.setattr("jointkd.labelling.loop.time.monotonic", lambda: now)
    caplog.set_level(logging.INFO, "jointkd")
    label(FRAMES, rows_of(FRAMES), Timed(), store, shard_size=1)
    lines = lines_of(caplog)
    assert [line.split(", 20.0 structures/s")[0] for line in lines] == [
        f"labels of numbers: {count} of 20 structures" for count in range(2, 21, 2)
    ]
    assert all(re.search(r" structures/s, [01] s left$", line) for line in lines[:-1])
    assert "left" not in lines[-1]


def test_the_rate_and_the_time_left_count_only_what_this_run_has_seen(store, caplog, monkeypatch):
    clock = iter([100.0, 110.0])
    monkeypatch.setattr("jointkd.labelling.loop.time.monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "jointkd")
    same = [replace(FRAMES[0], positions=FRAMES[0].positions + step) for step in range(20)]
    rows = rows_of(same)
    label(same[:10], rows, NumberTeacher(), store, shard_size=10)
    caplog.clear()
    clock = iter([100.0, 110.0])
    progress = Progress(same, rows, store)
    commit(same[10:14], rows, Batching(NumberTeacher()), store, Inspector(NumberTeacher()))
    progress.show()
    assert lines_of(caplog) == ["labels of numbers: 14 of 20 structures, 0.4 structures/s, 15 s left"]


def test_large_structures_that_are_left_count_for_more_in_the_time_left(store, caplog, monkeypatch):
    small, large = FRAMES[0], Frame(np.ones(60, dtype=int), np.random.default_rng(0).normal(size=(60, 3)))
    frames = [small, large]
    clock = iter([0.0, 1.0])
    monkeypatch.setattr("jointkd.labelling.loop.time.monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "jointkd")
    progress = Progress(frames, rows_of(frames), store)
    commit([small], rows_of(frames), Batching(NumberTeacher()), store, Inspector(NumberTeacher()))
    progress.show()
    (line,) = lines_of(caplog)
    assert line.endswith(f"{60 / len(small):.0f} s left")


def test_a_slow_teacher_gets_a_line_though_it_has_not_done_another_tenth(store, caplog, monkeypatch):
    clock = iter([0.0, 10.0, QUIET + 1.0, QUIET + 2.0])
    monkeypatch.setattr("jointkd.labelling.loop.time.monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "jointkd")
    progress = Progress(FRAMES, rows_of(FRAMES), store)
    commit(FRAMES[:1], rows_of(FRAMES), Batching(NumberTeacher()), store, Inspector(NumberTeacher()))
    for _ in range(3):
        progress.show()
    assert [line.split(",")[0] for line in lines_of(caplog)] == ["labels of numbers: 1 of 20 structures"]
    assert "12 structures/h" in lines_of(caplog)[0]


class Wrong(NumberTeacher):
    """A teacher whose labels with rows are changed by a function; its forces for differences stay right."""

    def __init__(self, change: Callable[[TeacherLabels], TeacherLabels], only: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.change, self.only = change, only

    def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
        labels = super()._one(frame, ids)
        return self.change(labels) if len(ids) and self.only in ("", frame.key) else labels


def not_translation_invariant(labels: TeacherLabels) -> TeacherLabels:
    return replace(labels, hessian_rows=labels.hessian_rows + 1e-6)


def not_symmetric(labels: TeacherLabels) -> TeacherLabels:
    rows = labels.hessian_rows.copy()
    first, second = labels.row_ids[0] // 3, labels.row_ids[-1] // 3
    rows[0, second, labels.row_ids[-1] % 3] += 1e-6
    rows[0, first, labels.row_ids[-1] % 3] -= 1e-6  # so that the row still sums to zero
    return replace(labels, hessian_rows=rows)


def not_additive(labels: TeacherLabels) -> TeacherLabels:
    return replace(labels, energy=labels.energy + 1e-6)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (not_translation_invariant, "Hessian rows do not sum to zero over the atoms"),
        (not_symmetric, "the Hessian is not symmetric"),
        (not_additive, "atomic energies do not sum to the energy"),
    ],
)
@pytest.mark.parametrize("rows", [4, "all"])
def test_labels_that_cannot_be_true_are_set_aside_with_the_reason_and_the_rest_is_kept(
    store, caplog, change, problem, rows
):
    bad = FRAMES[4]
    label(FRAMES, rows_of(FRAMES, rows), Wrong(change, only=bad.key), store, shard_size=3)
    assert store.failed.keys() == {bad.key}
    assert store.failed[bad.key].startswith(f"{problem} (off by ")
    assert store.keys() == {frame.key for frame in FRAMES} - {bad.key}
    assert any("frame 4" in line and problem in line for line in lines_of(caplog))
    assert counted(store.failed.values()) == f"1 because {problem}"


@pytest.mark.parametrize("factor", [-1.0, 27.2114, 1 / 0.529177])
def test_rows_of_the_wrong_sign_or_unit_end_the_run_before_anything_is_stored(store, factor):
    teacher = Wrong(lambda labels: replace(labels, hessian_rows=factor * labels.hessian_rows))
    with pytest.raises(TeacherError) as caught:
        label(FRAMES, rows_of(FRAMES), teacher, store)
    assert "Hessian rows of teacher numbers are not those of its forces" in caught.value.problem
    assert "frame 0" in caught.value.problem
    assert "sign" in caught.value.remedy
    assert not len(store)
    assert not store.failed


def test_forces_that_are_not_in_the_direction_of_the_rows_end_the_run(store):
    class Unlike(NumberTeacher):
        def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
            labels = super()._one(frame, ids)
            return replace(labels, forces=labels.forces[:, [1, 2, 0]])  # Hessians are the same in all directions

    with pytest.raises(TeacherError, match="not those of its forces"):
        label(FRAMES, rows_of(FRAMES), Unlike(), store)


def test_rows_are_compared_with_differences_of_forces_once_in_a_run(store):
    asked = []

    class Counting(NumberTeacher):
        def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
            asked.extend(frame.source for frame, ids in zip(frames, row_ids, strict=True) if not len(ids))
            return super().label(frames, row_ids)

    label(FRAMES, rows_of(FRAMES), Counting(), store, shard_size=3)
    assert asked == ["frame 0, displaced"] * 4


def test_what_is_compared_is_the_first_structure_that_has_rows_and_is_sound(store, tmp_path):
    rows = rows_of(FRAMES)
    rows[FRAMES[0].key] = rows[FRAMES[0].key][:0]
    teacher = Wrong(lambda labels: replace(labels, hessian_rows=-labels.hessian_rows), spoilt=FRAMES[1].key)
    with pytest.raises(TeacherError, match="frame 2"):
        label(FRAMES, rows, teacher, store)


def test_a_teacher_without_atomic_energies_and_one_in_single_precision_are_judged_by_what_they_can_give(tmp_path):
    def rounded(labels: TeacherLabels) -> TeacherLabels:
        rows = labels.hessian_rows.astype(np.float32) * np.float32(1 + 1e-6)
        return replace(labels, atomic_energies=np.zeros(0), forces=labels.forces.astype(np.float32), hessian_rows=rows)

    teacher = Wrong(rounded)
    teacher.identity = replace(IDENTITY, dtype="float32")
    store = LabelStore.create(tmp_path / "labels", teacher.identity, SETTINGS)
    label(FRAMES, rows_of(FRAMES, "all"), teacher, store)
    assert len(store) == len(FRAMES)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_labels_of_a_mace_keep_the_bounds_with_room_to_spare_also_in_a_periodic_box(tiny_mace, dtype):
    teacher = from_checkpoint(str(tiny_mace), "tiny", dtype, "cpu", 128)
    inspector = Inspector(teacher)
    inspector.bounds = Bounds(*(0.03 * bound for bound in astuple(inspector.bounds)[:-1]), step=inspector.bounds.step)
    rng = np.random.default_rng(0)
    positions = np.array([[0, 0, 0], [1.1, 0, 0], [0, 1.2, 0.1], [1.0, 1.1, 1.0]]) + 0.1 * rng.normal(size=(4, 3))
    for periodic in (False, True):
        frame = Frame(np.array([6, 1, 8, 1]), positions, 3.1 * np.eye(3) * periodic, np.full(3, periodic))
        inspector.compared = False
        (labels,) = teacher.label([frame], [np.arange(12)])
        assert inspector.flaw(frame, labels) is None
        assert inspector.compared


def test_a_teacher_that_fails_next_to_a_structure_leaves_the_comparison_to_another_one(store, caplog):
    class Fragile(NumberTeacher):
        def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
            labels = super()._one(frame, ids)
            return replace(labels, forces=np.nan * labels.forces) if frame.source == "frame 0, displaced" else labels

    label(FRAMES, rows_of(FRAMES), Fragile(), store)
    assert len(store) == len(FRAMES)
    assert [line for line in lines_of(caplog) if "frame 0: numbers fails on a slightly displaced copy" in line]


def test_a_teacher_that_labels_nothing_is_stopped_early_with_one_line_and_nothing_is_written(store, tmp_path):
    hopeless = Wrong(lambda labels: replace(labels, energy=np.nan), calls=tmp_path / "calls")
    with pytest.raises(TeacherError) as caught:
        label(FRAMES, rows_of(FRAMES), hopeless, store, shard_size=5)
    assert "can label none of the first 5 structures: 5 because the teacher's labels are not finite" in str(
        caught.value
    )
    assert len(calls_in(tmp_path / "calls")) == 5
    assert not list((store.path / "shards").iterdir())
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store)
    assert len(store) == len(FRAMES)


def test_a_structure_that_memory_does_not_suffice_for_fails_alone_with_that_reason(store):
    class Forgetful(NumberTeacher):
        def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels]:
            if sum(map(len, frames)) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().label(frames, row_ids)

    label(FRAMES, rows_of(FRAMES), Forgetful(), store)
    large = {frame.key for frame in FRAMES if len(frame) > 5}
    assert large
    assert store.failed == dict.fromkeys(large, "memory does not suffice for it")
    assert store.keys() == {frame.key for frame in FRAMES} - large
