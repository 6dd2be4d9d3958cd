"""A teacher in the place of a student: what it predicts for any structures."""

import logging
import time
from collections.abc import Iterable, Iterator

import numpy as np
from ase.data import chemical_symbols

from jointkd.data.screening import Rejected, find_fault
from jointkd.errors import TeacherError
from jointkd.evaluation.predictions import Predicted
from jointkd.labelling.batching import Batching
from jointkd.labels.directions import NO_ROWS, choose_rows
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

CHUNK = 64  # structures that are read before they are labelled
ENTRIES = 20_000_000  # of their Hessian rows; a larger structure is labelled by itself

log = logging.getLogger(__name__)


class TeacherPredictor:
    """A teacher that predicts structures as they are read, as `Predictor` does.

    rows, seed: of the Hessian rows of each structure, see `choose_rows`.
    """

    has_zero = False  # total energies are relative to a zero of its own

    def __init__(self, teacher: Teacher, rows: int | str = 0, seed: int = 0) -> None:
        self.teacher, self.batching = teacher, Batching(teacher)
        self.rows, self.seed = rows, seed

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Predicted | Rejected]:
        """The predictions in the order of the frames; a frame that cannot be predicted is rejected with the reason."""
        for part, chunk in enumerate(self._chunks(frames)):
            faults = {number: fault for number, frame in enumerate(chunk) if (fault := self.fault(frame))}
            started = time.perf_counter()
            labels = iter(self._labels([frame for number, frame in enumerate(chunk) if number not in faults]))
            if self.rows and part == 0:
                seconds = (time.perf_counter() - started) / len(chunk)
                log.info(
                    "%s takes about %.2g s for a structure with rows=%s, as the first %d show",
                    *(self.teacher.identity.name, seconds, self.rows, len(chunk)),
                )
            for number, frame in enumerate(chunk):
                yield Rejected(frame, faults[number]) if number in faults else outcome(frame, next(labels))

    def fault(self, frame: Frame) -> str | None:
        """The reason why a frame cannot be predicted, None if it can."""
        known = self.teacher.identity.elements
        if unknown := sorted(z for z in set(frame.numbers.tolist()) if z not in known):
            return f"it does not know {chemical_symbols[unknown[0]]}"
        return find_fault(frame, max_force=np.inf)

    def estimates(self, frame: Frame) -> bool:
        """Whether the total energy of a composition is an estimate: none is, as none is compared."""
        return False

    def trained_on(self, frame: Frame) -> bool:
        """Whether a structure is one of its training, of which nothing is known here."""
        return False

    def _chunks(self, frames: Iterable[Frame]) -> Iterator[list[Frame]]:
        """The frames in parts, of each of which the labels are in memory together."""
        chunk: list[Frame] = []
        entries = 0
        for frame in frames:
            added = 3 * len(frame) * len(self._row_ids(frame))
            if chunk and (len(chunk) == CHUNK or entries + added > ENTRIES):
                yield chunk
                chunk, entries = [], 0
            chunk.append(frame)
            entries += added
        if chunk:
            yield chunk

    def _row_ids(self, frame: Frame) -> np.ndarray:
        return choose_rows(frame.key, len(frame), self.rows, self.seed) if self.rows else NO_ROWS

    def _labels(self, frames: list[Frame]) -> list[TeacherLabels | str]:
        """The labels of each frame, or the reason why it has none."""
        if not frames:
            return []
        try:
            return self.batching.label(frames, [self._row_ids(frame) for frame in frames])
        except TeacherError as error:  # of one of them
            if len(frames) == 1:
                return [error.problem]
            return [labels for frame in frames for labels in self._labels([frame])]


def outcome(frame: Frame, labels: TeacherLabels | str) -> Predicted | Rejected:
    """Labels as a prediction."""
    if isinstance(labels, str):
        return Rejected(frame, labels)
    if not labels.finite():
        return Rejected(frame, "its labels are not finite")
    rows = labels.hessian_rows if len(labels.directions) else None
    return Predicted(frame, labels.energy, labels.atomic_energies, labels.forces.astype(float), hessian_rows=rows)
