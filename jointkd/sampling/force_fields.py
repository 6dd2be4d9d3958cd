"""Whose forces move the atoms: a teacher as an ASE calculator, with its time, or a student."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator

from jointkd.deploy.ase import JointKD
from jointkd.labelling.batching import Batching
from jointkd.labels.directions import NO_ROWS
from jointkd.labels.records import TeacherLabels
from jointkd.sampling.options import SamplingOptions
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher
from jointkd.teachers.calculator import TeacherCalculator


class TimedTeacher:
    """A teacher without Hessian rows, and the seconds that it has taken."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher, self.seconds = teacher, 0.0
        self.batching = Batching(teacher)

    def label(self, frames: list[Frame]) -> list[TeacherLabels | str]:
        """Energy, forces and atomic energies of each structure, or the reason why it has none."""
        started = time.perf_counter()
        try:
            return self.batching.label(frames, [NO_ROWS] * len(frames))
        finally:
            self.seconds += time.perf_counter() - started


class TimedCalculator(TeacherCalculator):
    """A teacher as an ASE calculator, whose time is counted; NaN where it fails."""

    def __init__(self, timed: TimedTeacher, info: Mapping[str, Any]) -> None:
        super().__init__(timed.teacher, info)
        self.timed = timed

    def labels_of(self, frame: Frame) -> TeacherLabels:
        """The teacher's labels of a structure, not finite where it has none."""
        (labels,) = self.timed.label([frame])
        if not isinstance(labels, str):
            return labels
        unknown = np.full(len(frame), np.nan)
        return TeacherLabels(np.nan, unknown, np.full((len(frame), 3), np.nan), np.empty((0, len(frame), 3)), NO_ROWS)


class Movers:
    """Calculators for structures, one after the other. Raises the errors of `JointKD` for a student."""

    def __init__(self, options: SamplingOptions, teacher: TimedTeacher) -> None:
        self.teacher = teacher
        self.student: JointKD | None = None
        if not options.by_teacher:
            self.student = JointKD(Path(options.mover).expanduser(), options.device, trust=options.trust)

    def calculator(self, start: Frame) -> Calculator:
        """The calculator of what is made from a structure."""
        return self.student or TimedCalculator(self.teacher, start.info)
