"""Labelling into a store: chunks, failures, and the progress in the log."""

import logging
import re
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from jointkd.errors import TeacherError
from jointkd.labelling.batching import NO_MEMORY, Batching
from jointkd.labelling.checker import LabelChecker
from jointkd.labelling.jobs import make_labels
from jointkd.labelling.loop import LabelProgress, commit, label
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.progress import QUIET
from jointkd.structures.frame import Frame
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, calls_in, frames_of, plan_of, rows_of

FRAMES = frames_of(20)


@pytest.fixture
def store(tmp_path):
    return LabelStore.create(tmp_path / "labels", IDENTITY, SETTINGS)


def test_every_structure_gets_its_labels_with_its_choice_of_rows(store):
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size=3)
    expected = NumberTeacher().label(FRAMES, list(rows_of(FRAMES).values()))
    assert store.keys() == {frame.key for frame in FRAMES}
    for frame, labels in zip(FRAMES, expected, strict=True):
        stored = store.read(frame.key)
        assert stored.energy == labels.energy
        np.testing.assert_array_equal(stored.hessian_rows, labels.hessian_rows)
        np.testing.assert_array_equal(stored.directions, rows_of(FRAMES)[frame.key])


class Finalised:
    """An object in whose finaliser SIGTERM arrives."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


class AskedToEnd(NumberTeacher):
    """SIGTERM arrives while this teacher labels a structure, where Python swallows the exception."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source

    def label(self, frames, directions):
        labels = super().label(frames, directions)
        if any(frame.source == self.source for frame in frames):
            lost = Finalised()
            del lost
        return labels


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("source", "kept"), [("frame 0", 4), ("frame 4", 8), ("frame 19", 20)])
def test_sigterm_ends_labelling_also_where_python_would_swallow_the_exception(store, caplog, source, kept):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        label(FRAMES, rows_of(FRAMES), AskedToEnd(source), store, shard_size=4)
    assert ended.value.code == 128 + signal.SIGTERM
    assert store.keys() == {frame.key for frame in FRAMES[:kept]}  # what was labelled is kept
    assert caplog.text.count("stopped by SIGTERM") == 1
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("shard_size", "shards"), [(1, 20), (3, 7), (20, 1), (100, 1)])
def test_a_shard_holds_the_given_number_of_structures(store, shard_size, shards):
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size)
    assert len(list((store.path / "shards").iterdir())) == shards


@pytest.mark.parametrize("gpu", [False, True])
def test_labelling_on_a_cpu_keeps_freed_memory(store, monkeypatch, gpu):
    kept = []
    monkeypatch.setattr("jointkd.labelling.loop.keep_freed_memory", lambda: kept.append(True))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    label([], {}, NumberTeacher(), store)
    assert bool(kept) is not gpu


def test_labelled_structures_are_not_labelled_again(store, tmp_path):
    teacher = NumberTeacher(calls=tmp_path / "calls")
    label(FRAMES[:7], rows_of(FRAMES), teacher, store, shard_size=3)
    label(FRAMES, rows_of(FRAMES), teacher, store, shard_size=3)
    label(FRAMES, rows_of(FRAMES), teacher, store, shard_size=5)
    assert sorted(calls_in(tmp_path / "calls")) == sorted(frame.key for frame in FRAMES)


def test_only_the_structures_of_a_deleted_shard_are_labelled_again(store, tmp_path):
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store, shard_size=3)
    whole = store.content_hash()
    next((store.path / "shards").iterdir()).unlink()
    again = LabelStore.open(store.path)
    label(FRAMES, rows_of(FRAMES), NumberTeacher(calls=tmp_path / "calls"), again, shard_size=3)
    assert 2 <= len(calls_in(tmp_path / "calls")) <= 3
    assert again.content_hash() == whole


def test_a_structure_without_finite_labels_fails_with_a_reason_and_is_not_tried_again(store, tmp_path, caplog):
    bad = FRAMES[4]
    teacher = NumberTeacher(calls=tmp_path / "calls", spoilt=bad.key)
    label(FRAMES, rows_of(FRAMES), teacher, store, shard_size=3)
    assert store.failed == {bad.key: "the teacher's labels are not finite"}
    assert store.keys() == {frame.key for frame in FRAMES} - {bad.key}
    assert any("frame 4" in record.message for record in caplog.records)
    label(FRAMES, rows_of(FRAMES), teacher, LabelStore.open(store.path), shard_size=3)
    assert calls_in(tmp_path / "calls").count(bad.key) == 1


def test_an_unknown_element_is_refused_before_labelling(store, tmp_path):
    iodine = Frame(np.array([1, 53]), np.zeros((2, 3)), source="iodine.xyz, frame 7")
    with pytest.raises(TeacherError) as caught:
        label([*FRAMES, iodine], rows_of([*FRAMES, iodine]), NumberTeacher(calls=tmp_path / "calls"), store)
    assert "numbers does not know I (iodine.xyz, frame 7)" in caught.value.problem
    assert "it knows H C O" in caught.value.remedy
    assert not calls_in(tmp_path / "calls")
    assert not len(store)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: `clock.now`, in s."""
    times = SimpleNamespace(now=0.0)
    monkeypatch.setattr("jointkd.labelling.loop.time.monotonic", lambda: times.now)
    return times


def progress_of(frames: list[Frame], store: LabelStore) -> LabelProgress:
    return LabelProgress(frames, rows_of(frames), store)


def commit_labels(frames: list[Frame], store: LabelStore) -> None:
    commit(frames, rows_of(frames), Batching(NumberTeacher()), store, LabelChecker(NumberTeacher()))


def test_a_log_gets_a_line_for_every_tenth_with_the_rate_and_the_time_left(store, caplog, clock):
    class Timed(NumberTeacher):
        def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
            clock.now += 0.5 if len(ids) else 0.0
            return super()._one(frame, ids)

    caplog.set_level(logging.INFO, "jointkd")
    label(FRAMES, rows_of(FRAMES), Timed(), store, shard_size=1)
    lines = lines_of(caplog)
    assert [line.split(", ")[:2] for line in lines] == [
        [f"labels of numbers: {count} of 20 structures", "2.0 structures/s"] for count in range(2, 21, 2)
    ]
    assert all(re.search(r", \d+ s left$", line) for line in lines[:-1])
    assert "left" not in lines[-1]


def test_the_rate_and_the_time_left_do_not_count_labels_of_earlier_runs(store, caplog, clock):
    caplog.set_level(logging.INFO, "jointkd")
    same_size = [replace(FRAMES[0], positions=FRAMES[0].positions + step) for step in range(20)]
    label(same_size[:10], rows_of(same_size), NumberTeacher(), store, shard_size=10)
    caplog.clear()
    progress = progress_of(same_size, store)
    commit_labels(same_size[10:14], store)
    clock.now += 10.0
    progress.count(frame.key for frame in same_size[10:14])
    assert lines_of(caplog) == ["labels of numbers: 14 of 20 structures, 0.4 structures/s, 15 s left"]


def test_the_time_left_depends_on_the_sizes_of_the_remaining_structures(store, caplog, clock):
    caplog.set_level(logging.INFO, "jointkd")
    small, large = FRAMES[0], Frame(np.ones(60, dtype=int), np.random.default_rng(0).normal(size=(60, 3)))
    progress = progress_of([small, large], store)
    commit_labels([small], store)
    clock.now += 1.0
    progress.count([small.key])
    (line,) = lines_of(caplog)
    assert line.endswith(f"{60 / len(small):.0f} s left")


def test_a_slow_teacher_gets_a_line_before_the_next_tenth(store, caplog, clock):
    caplog.set_level(logging.INFO, "jointkd")
    progress = progress_of(FRAMES, store)
    commit_labels(FRAMES[:1], store)
    for now in (10.0, QUIET + 1.0, QUIET + 2.0):
        clock.now = now
        progress.count([FRAMES[0].key])
    (line,) = lines_of(caplog)
    assert line.startswith("labels of numbers: 1 of 20 structures, 12 structures/h")


def test_a_teacher_that_cannot_label_any_structure_ends_the_run_and_nothing_is_written(store, tmp_path):
    class Hopeless(NumberTeacher):
        def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
            return replace(super()._one(frame, ids), energy=np.nan)

    with pytest.raises(TeacherError) as caught:
        label(FRAMES, rows_of(FRAMES), Hopeless(calls=tmp_path / "calls"), store, shard_size=5)
    assert "cannot label any of the first 5 structures: 5 because the teacher's labels are not finite" in str(
        caught.value
    )
    assert len(calls_in(tmp_path / "calls")) == 5
    assert not list((store.path / "shards").iterdir())
    label(FRAMES, rows_of(FRAMES), NumberTeacher(), store)
    assert len(store) == len(FRAMES)


def test_a_structure_that_does_not_fit_into_memory_fails_alone_with_that_reason(store):
    class SmallMemory(NumberTeacher):
        def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
            if sum(map(len, frames)) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().label(frames, directions)

    label(FRAMES, rows_of(FRAMES), SmallMemory(), store)
    large = {frame.key for frame in FRAMES if len(frame) > 5}
    assert large
    assert store.failed == dict.fromkeys(large, "there is not enough memory for it")
    assert store.keys() == {frame.key for frame in FRAMES} - large


def test_structures_for_which_memory_did_not_suffice_are_tried_again_when_labels_are_asked_for(tmp_path):
    (tmp_path / "calls").mkdir()
    plan = plan_of("CompanionTeacher", tmp_path / "calls", tmp_path / "labels", 4, shard_size=2)
    spec = replace(plan.teacher, options={**plan.teacher.options, "companions": 1})
    plan = replace(plan, place=replace(plan.place, teacher=spec))
    first, second = list(plan.frames)[:2]
    store = LabelStore.create(plan.path, spec.build().identity, plan.options.settings)
    store.append({}, {first: NO_MEMORY, second: "the Hessian is not symmetric (off by 1)"})
    assert make_labels(plan).failed.keys() == {first, second}
    again = make_labels(plan, retry=True)
    assert again.failed.keys() == {second}
    assert first in again
