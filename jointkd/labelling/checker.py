"""Checks that labels pass before they are stored."""

import itertools
import logging
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from jointkd.errors import TeacherError
from jointkd.labels.checks import BOUNDS, difference_error, displaced, displacements, first_violation, force_error
from jointkd.labels.directions import NO_ROWS
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

log = logging.getLogger(__name__)

SHORTER = 4.0  # each step is so many times as short as the one before
STEPS = 6  # that are tried: a potential with sharp features needs short ones, one with noise long ones
ROWS = 12  # whose convergence with the displacement is estimated
FORCE_DIFFERENCES = 0.05  # largest error of forces against differences of energies, which are rounded more
DERIVATIVES = [  # what are derivatives of what, and the remedy where they are not
    (
        "Hessian rows",
        "forces",
        "check the sign and the units of the teacher, and that its forces are smooth derivatives of its energy",
    ),
    (
        "forces",
        "energies",
        "take the energy that the forces belong to, such as the free energy of a smeared calculation",
    ),
]
COARSE = 0.02  # of the largest entry; above that error, rows by finite differences cause a warning


@runtime_checkable
class DifferenceTeacher(Protocol):
    """A teacher whose Hessian rows are central differences of its forces."""

    displacement: float  # Å

    def rows(self, frame: Frame, directions: np.ndarray, displacement: float) -> np.ndarray:
        """[K, N, 3] eV/Å²: rows, or products with probes, by another displacement."""


class LabelChecker:
    """Checks the labels of every structure, and the Hessian rows of one structure by finite differences of forces."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        # a teacher whose rows are finite differences of forces has the attribute rows_precision = "differences"
        precision = getattr(teacher, "rows_precision", teacher.identity.dtype)
        self.bounds = BOUNDS.get(precision, BOUNDS["float32"])
        self.compared = False  # whether rows have been compared with finite differences

    def check(self, frame: Frame, labels: TeacherLabels) -> str | None:
        """The reason why labels are wrong, or None. Raises TeacherError if rows are not derivatives of the forces."""
        violation = first_violation(labels, frame, self.teacher.identity, self.bounds)
        if violation is None and not self.compared and len(labels.directions):
            self.compared = self._compare(frame, labels)
            if isinstance(self.teacher, DifferenceTeacher):
                estimate_convergence(self.teacher, frame, labels)
        return violation

    def _compare(self, frame: Frame, labels: TeacherLabels) -> bool:
        """Compare rows and forces with finite differences; False if the teacher fails on a displaced structure.

        The step is shortened until they agree, because no step fits all potentials; wrong ones agree at none.
        """
        errors: dict[float, tuple[float, float]] = {}
        bounds = np.array([self.bounds.differences, FORCE_DIFFERENCES])
        for step, moved in self._displaced_labels(frame):
            if not all(np.isfinite(copy.forces).all() for copy in moved):
                log.warning(
                    "%s: %s fails on a slightly displaced copy, so its rows were not compared with finite differences",
                    frame.source or frame.key, self.teacher.identity.name,
                )  # fmt: skip
                return False
            moves = displacements(frame, step)
            rows_error = difference_error(labels, moves, [copy.forces for copy in moved])
            errors[step] = rows_error, force_error(labels, moves, [copy.energy for copy in moved])
            if (np.min(list(errors.values()), axis=0) <= bounds).all():
                return True
        for number, (derivative, of, remedy) in enumerate(DERIVATIVES):
            error, step = min((both[number], step) for step, both in errors.items())
            if not error <= bounds[number]:
                raise TeacherError(
                    f"the {derivative} of teacher {self.teacher.identity.name} are not the derivatives of its {of}: "
                    f"for {frame.source or frame.key} they differ from finite differences by {error:.1e} of the largest"
                    f" at a step of {step:.0e} Å (bound {bounds[number]:.0e}), and by more at others",
                    remedy,
                )
        return True

    def _displaced_labels(self, frame: Frame) -> Iterator[tuple[float, list[TeacherLabels]]]:
        """Steps (Å), and energies and forces of the structures displaced by them."""
        for number in range(STEPS):
            step = self.bounds.step / SHORTER**number
            copies = displaced(frame, displacements(frame, step))
            yield step, [self.teacher.label([copy], [NO_ROWS])[0] for copy in copies]


def estimate_convergence(teacher: DifferenceTeacher, frame: Frame, labels: TeacherLabels) -> None:
    """Log how far rows by finite differences are from those of shorter displacements, and which would be better.

    Between two displacements rows change by their curvature, at long ones, and by noise, at short ones; the rows before
    the smallest change are taken for the right ones.
    """
    made = teacher.displacement
    some = labels.directions[:ROWS]
    rows = [labels.hessian_rows[:ROWS].astype(float)]
    for number in range(1, STEPS):
        rows.append(teacher.rows(frame, some, made / 2**number))
    changes = [float(np.abs(after - before).max()) for before, after in itertools.pairwise(rows)]
    best = int(np.argmin(changes))
    error = float(np.abs(rows[0] - rows[best + 1]).max())
    largest = max(float(np.abs(rows[0]).max()), 1e-9)
    log.info(
        "Hessian rows by central differences of ±%g Å: estimated error %.2g eV/Å² (%.1g %% of the largest entry)",
        made,
        error,
        100 * error / largest,
    )
    if error > COARSE * largest and best:
        log.warning(
            "teacher.displacement=%g would give Hessian rows of an error near %.1g eV/Å²", made / 2**best, changes[best]
        )
