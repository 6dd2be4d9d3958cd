"""The number of structures that a teacher labels together."""

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from jointkd.labelling import batching
from jointkd.labelling.batching import Batching, batch_length, probe
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from tests.teachers import NumberTeacher, frames_of, rows_of

FRAMES = frames_of(20)
ROWS = list(rows_of(FRAMES).values())


class Recording(NumberTeacher):
    """Records its batches. limit: atoms that fit into memory; cost: time in s of a batch, by its number of atoms."""

    def __init__(
        self, batch_atoms: int | None, limit: int = 10**6, error: Exception | None = None, cost: Any = None
    ) -> None:
        super().__init__()
        self.batch_atoms, self.limit, self.cost = batch_atoms, limit, cost  # type: ignore[assignment]
        self.clock = SimpleNamespace(now=0.0)
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        self.batches: list[list[Frame]] = []

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        self.batches.append(frames)
        atoms = sum(map(len, frames))
        if atoms > self.limit:
            raise self.error
        if self.cost is not None:
            self.clock.now += self.cost(atoms)
        return super().label(frames, directions)

    def sizes(self) -> list[int]:
        return [sum(map(len, batch)) for batch in self.batches]


def assert_complete(results: list[Any]) -> None:
    for labels, expected in zip(results, NumberTeacher().label(FRAMES, ROWS), strict=True):
        np.testing.assert_array_equal(labels.hessian_rows, expected.hessian_rows)
        np.testing.assert_array_equal(labels.directions, expected.directions)
        np.testing.assert_array_equal(labels.forces, expected.forces)


def test_a_batch_has_as_many_structures_as_fit_into_the_given_number_of_atoms():
    teacher = Recording(batch_atoms=10)
    assert_complete(Batching(teacher).label(FRAMES, ROWS))
    assert max(teacher.sizes()) <= 10
    assert all(size + len(after[0]) > 10 for size, after in zip(teacher.sizes(), teacher.batches[1:], strict=False))


def test_structures_with_equal_numbers_of_rows_are_labelled_together():
    teacher = Recording(batch_atoms=12)
    rows = [np.arange(3 * len(frame)) for frame in FRAMES]
    Batching(teacher).label(FRAMES, rows)
    lengths = [len(frame) for batch in teacher.batches for frame in batch]
    assert lengths == sorted(lengths)


def test_a_structure_larger_than_a_batch_is_a_batch_of_its_own():
    assert batch_length(FRAMES, 1) == 1
    assert batch_length([FRAMES[0]], 10**6) == 1


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
)
def test_without_enough_memory_batches_are_halved_with_a_warning_and_no_label_is_lost(caplog, error):
    teacher = Recording(batch_atoms=40, limit=11, error=error)
    batching = Batching(teacher)
    assert_complete(batching.label(FRAMES, ROWS))
    refused = [size for size in teacher.sizes() if size > 11]
    assert len(refused) == 2
    assert batching.atoms == refused[-1] // 2
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        f"there is not enough memory to label {size} atoms together: the limit is now {size // 2} atoms"
        for size in refused
    ]


def test_other_errors_of_the_teacher_are_raised():
    with pytest.raises(RuntimeError, match="shapes"):
        Batching(Recording(batch_atoms=40, limit=11, error=RuntimeError("shapes"))).label(FRAMES, ROWS)


def timed(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Recording:
    """A teacher whose labelling takes the time that `cost` gives, by a clock of its own."""
    teacher = Recording(None, **options)
    monkeypatch.setattr(batching.time, "perf_counter", lambda: teacher.clock.now)
    return teacher


def same_sized(count: int) -> list[tuple[Frame, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(Frame(np.array([1, 6, 8]), rng.normal(size=(3, 3))), np.arange(9)) for _ in range(count)]


@pytest.mark.parametrize(
    ("cost", "atoms"),
    [
        (lambda atoms: 0.05, 48),  # independent of the size: all at once
        (lambda atoms: 0.02 * atoms / 3, 3),  # proportional to the size: one at a time
        (lambda atoms: 0.05 if atoms <= 12 else 0.4, 12),  # a cache for four structures
    ],
)
def test_the_probe_chooses_the_fastest_batch(cost, atoms, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "jointkd")
    assert probe(timed(monkeypatch, cost=cost), same_sized(16)) == atoms
    assert f"numbers labels up to {atoms} atoms together" in caplog.text


def test_the_probe_stops_before_memory_runs_out(monkeypatch):
    assert probe(timed(monkeypatch, limit=6, cost=lambda atoms: 0.03), same_sized(16)) == 6
    peaks = iter([0, 100, 300, 900])
    monkeypatch.setattr(batching, "peak_memory", lambda: next(peaks))
    monkeypatch.setattr(batching, "free_memory", lambda: 500)
    assert probe(timed(monkeypatch, cost=lambda atoms: 0.03), same_sized(16)) == 6


def test_the_probe_runs_once_and_only_for_several_structures():
    teacher = Recording(None)
    batching = Batching(teacher)
    batching.label(FRAMES[:1], ROWS[:1])
    assert batching.atoms is None
    assert len(teacher.batches) == 1
    assert_complete(batching.label(FRAMES, ROWS))
    chosen, calls = batching.atoms, len(teacher.batches)
    assert chosen is not None
    batching.label(FRAMES, ROWS)
    assert batching.atoms == chosen
    assert len(teacher.batches) - calls <= len(FRAMES)
