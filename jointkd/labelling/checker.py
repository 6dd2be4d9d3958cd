"""Checks that labels pass before they are stored."""

import logging

import numpy as np

from jointkd.errors import TeacherError
from jointkd.labels.checks import BOUNDS, difference_error, displaced, displacements, first_violation
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

log = logging.getLogger(__name__)


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
        if violation is None and not self.compared and len(labels.row_ids):
            self.compared = self._compare(frame, labels)
        return violation

    def _compare(self, frame: Frame, labels: TeacherLabels) -> bool:
        """Compare rows with finite differences of forces; False if the teacher fails on a displaced structure."""
        moves = displacements(frame, self.bounds.step)
        no_rows = np.zeros(0, dtype=np.int64)
        forces = [self.teacher.label([copy], [no_rows])[0].forces for copy in displaced(frame, moves)]
        if not all(np.isfinite(array).all() for array in forces):
            log.warning(
                "%s: %s fails on a slightly displaced copy, so its rows were not compared with finite differences",
                frame.source or frame.key, self.teacher.identity.name,
            )  # fmt: skip
            return False
        error = difference_error(labels, moves, forces)
        if not error <= self.bounds.differences:
            raise TeacherError(
                f"the Hessian rows of teacher {self.teacher.identity.name} are not the derivatives of its forces: for "
                f"{frame.source or frame.key} they differ from finite differences of the forces by {error:.1e} of the "
                f"largest entry (bound {self.bounds.differences:.0e})",
                "check the sign and the units of the teacher, and that its forces are derivatives of its energy",
            )
        return True
