"""Whose forces move the atoms: a teacher as an ASE calculator, with its time, or a student."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from jointkd.deploy.ase import JointKD
from jointkd.labelling.batching import Batching
from jointkd.labels.records import TeacherLabels
from jointkd.sampling.options import SamplingOptions
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher


class TimedTeacher:
    """A teacher without Hessian rows, and the seconds that it has taken."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher, self.seconds = teacher, 0.0
        self.batching = Batching(teacher)

    def label(self, frames: list[Frame]) -> list[TeacherLabels | str]:
        """Energy, forces and atomic energies of each structure, or the reason why it has none."""
        started = time.perf_counter()
        try:
            return self.batching.label(frames, [np.zeros(0, dtype=np.int64)] * len(frames))
        finally:
            self.seconds += time.perf_counter() - started


class TeacherCalculator(Calculator):
    """A teacher as an ASE calculator of energy (eV) and forces (eV/Å), NaN where it fails.

    info: of the structure that the atoms come from, with its charge and spin.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  # as ASE has it

    def __init__(self, teacher: TimedTeacher, info: Mapping[str, Any]) -> None:
        super().__init__()
        self.teacher, self.info = teacher, info

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy and forces into `results`; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        system: Any = self.atoms  # the copy that ASE made
        frame = frame_of(system, self.info)
        (labels,) = self.teacher.label([frame])
        if isinstance(labels, str):
            self.results = {"energy": np.nan, "forces": np.full((len(frame), 3), np.nan)}
        else:
            self.results = {"energy": labels.energy, "forces": labels.forces.astype(float)}


def frame_of(atoms: Atoms, info: Mapping[str, Any]) -> Frame:
    """The structure that moving atoms are now. info: see `TeacherCalculator`."""
    numbers = atoms.numbers.astype(np.int64)
    return Frame(numbers, atoms.positions.copy(), atoms.cell.array.copy(), atoms.pbc.copy(), info=info)


class Movers:
    """Calculators for structures, one after the other. Raises the errors of `JointKD` for a student."""

    def __init__(self, options: SamplingOptions, teacher: TimedTeacher) -> None:
        self.teacher = teacher
        self.student: JointKD | None = None
        if not options.by_teacher:
            self.student = JointKD(Path(options.mover).expanduser(), options.device, trust=options.trust)

    def calculator(self, start: Frame) -> Calculator:
        """The calculator of what is made from a structure."""
        return self.student or TeacherCalculator(self.teacher, start.info)
