"""A teacher whose molecules keep their shape, and structures for it."""

from dataclasses import replace

import numpy as np

from jointkd.labels.records import TeacherIdentity, TeacherLabels
from jointkd.structures.frame import Frame
from tests.files import frames

FREE = {1: -13.0, 6: -1030.0, 8: -2040.0}
STIFFNESS = 15.0  # eV/Å²


def starts(count: int) -> list[Frame]:
    """Water, methanol and methane, in turn, each a little displaced."""
    return [replace(frame, group=f"group {number}") for number, frame in enumerate(frames(count))]


class ElasticTeacher:
    """Springs between all atoms of a molecule, at rest in the first one; interrupted after `fails_after` calls."""

    batch_atoms = 64

    def __init__(self, some: list[Frame], fails_after: int | None = None) -> None:
        self.rest = {frame.numbers.tobytes(): distances(frame.positions) for frame in reversed(some)}
        self.left = fails_after
        self.calls = 0
        self.identity = TeacherIdentity("elastic", "0" * 64, "float64", tuple(FREE), FREE)

    def label(self, some: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels]:
        self.calls += 1
        if self.left is not None and self.calls > self.left:
            raise KeyboardInterrupt
        return [self._one(frame, ids) for frame, ids in zip(some, directions, strict=True)]

    def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
        apart = distances(frame.positions)
        stretch = apart - self.rest[frame.numbers.tobytes()]
        atomic = STIFFNESS * (stretch**2).sum(1) / 4
        vectors = frame.positions[:, None] - frame.positions
        pull = (STIFFNESS * stretch / (apart + np.eye(len(frame))))[..., None] * vectors
        free = sum(FREE[int(z)] for z in frame.numbers)
        rows = np.zeros((len(ids), len(frame), 3))
        return TeacherLabels(float(atomic.sum() + free), atomic, -pull.sum(1), rows, ids)


def distances(positions: np.ndarray) -> np.ndarray:
    """[N, N] Å."""
    return np.linalg.norm(positions[:, None] - positions, axis=-1)
