"""A teacher in the place of a student: what it predicts for any structures."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from ase.data import chemical_symbols

from jointkd.data.screening import Rejected, find_fault
from jointkd.errors import TeacherError
from jointkd.evaluation.predictions import Predicted
from jointkd.labelling.batching import Batching
from jointkd.labels.directions import NO_ROWS
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

CHUNK = 64  # structures that are read before they are labelled


class TeacherPredictor:
    """A teacher that predicts structures as they are read, as `Predictor` does."""

    has_zero = False  # total energies are relative to a zero of its own

    def __init__(self, teacher: Teacher) -> None:
        self.teacher, self.batching = teacher, Batching(teacher)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Predicted | Rejected]:
        """The predictions in the order of the frames; a frame that cannot be predicted is rejected with the reason."""
        remaining = iter(frames)
        while chunk := list(islice(remaining, CHUNK)):
            faults = {number: fault for number, frame in enumerate(chunk) if (fault := self.fault(frame))}
            labels = iter(self._labels([frame for number, frame in enumerate(chunk) if number not in faults]))
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

    def _labels(self, frames: list[Frame]) -> list[TeacherLabels | str]:
        """The labels of each frame, or the reason why it has none."""
        if not frames:
            return []
        try:
            return self.batching.label(frames, [NO_ROWS] * len(frames))
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
    return Predicted(frame, labels.energy, labels.atomic_energies, labels.forces.astype(float))
