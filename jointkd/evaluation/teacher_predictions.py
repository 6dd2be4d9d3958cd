"""A teacher in the place of a student: what it predicts for any structures."""

from collections.abc import Iterable, Iterator

import numpy as np
from ase.data import chemical_symbols

from jointkd.data.screening import Rejected, find_fault
from jointkd.evaluation.predictions import Predicted
from jointkd.labels.directions import NO_ROWS
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

BATCH_ATOMS = 200  # together, where the teacher's options do not say


class TeacherPredictor:
    """A teacher that predicts structures as they are read, like `Predictor`; its total energies have its own zero."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self.limit = teacher.batch_atoms or BATCH_ATOMS

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Predicted | Rejected]:
        """The predictions in the order of the frames; a frame that cannot be predicted is rejected with the reason."""
        waiting: list[Frame | Rejected] = []
        atoms = 0
        for frame in frames:
            fault = self.fault(frame)
            if atoms and atoms + len(frame) > self.limit:
                yield from self._predict(waiting)
                waiting, atoms = [], 0
            waiting.append(Rejected(frame, fault) if fault else frame)
            atoms += 0 if fault else len(frame)
        yield from self._predict(waiting)

    def fault(self, frame: Frame) -> str | None:
        """The reason why a frame cannot be predicted, None if it can."""
        known = self.teacher.identity.elements
        if unknown := sorted(z for z in set(frame.numbers.tolist()) if z not in known):
            return f"the teacher does not know {chemical_symbols[unknown[0]]}"
        return find_fault(frame, max_force=np.inf)

    def _predict(self, waiting: list[Frame | Rejected]) -> Iterator[Predicted | Rejected]:
        frames = [each for each in waiting if isinstance(each, Frame)]
        labels = iter(self.teacher.label(frames, [NO_ROWS] * len(frames)) if frames else [])
        for each in waiting:
            if isinstance(each, Rejected):
                yield each
                continue
            label = next(labels)
            predicted = Predicted(each, label.energy, label.atomic_energies, label.forces.astype(float))
            yield predicted if label.finite() else Rejected(each, "the teacher's labels are not finite")
