"""Errors of students against their teacher: atomic energies on one zero, and Hessian rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jointkd.evaluation.predictions import Predicted

METRICS = ("atomic_energy_mae_meV", "hessian_row_mae_eV_per_A2")


class TeacherSums(NamedTuple):
    """Sums over the atoms of a structure, and over the entries of its Hessian rows; zero where none are compared."""

    atomic_energies: float = 0.0  # meV, of absolute errors
    atoms: float = 0.0
    rows: float = 0.0  # eV/Å², of absolute errors
    entries: float = 0.0


NO_TEACHER = TeacherSums()


@dataclass(frozen=True)
class AgainstTeacher:
    """The teacher among several force fields, and how its atomic energies are brought to the zero of each student.

    zeros: by the student's name, what is added to the teacher's atomic energy of each element: the student's reference
    energy minus the shift of `Alignment`, eV by atomic number. Of a student without them none are compared.
    """

    name: str
    zeros: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def sums(self, name: str, predicted: Mapping[str, Predicted]) -> TeacherSums:
        """The sums for one of the force fields. predicted: a structure, by each force field."""
        student, teacher, zero = predicted[name], predicted[self.name], self.zeros.get(name)
        found = NO_TEACHER
        if zero is not None:
            targets = teacher.energies + np.array([zero[z] for z in teacher.frame.numbers.tolist()])
            error = 1e3 * np.abs(student.energies - targets)
            found = found._replace(atomic_energies=float(error.sum()), atoms=float(len(error)))
        if name != self.name and student.hessian_rows is not None and teacher.hessian_rows is not None:
            error = np.abs(student.hessian_rows - teacher.hessian_rows)
            found = found._replace(rows=float(error.sum(dtype=float)), entries=float(error.size))
        return found


def teacher_ratios(sums: TeacherSums) -> tuple[np.ndarray, np.ndarray]:
    """[M, 2] numerators and denominators of `METRICS`. sums: of arrays [M]."""
    return np.stack([sums.atomic_energies, sums.rows], axis=1), np.stack([sums.atoms, sums.entries], axis=1)
