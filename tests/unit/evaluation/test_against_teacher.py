"""Errors of students against a teacher, of one structure."""

import numpy as np
import pytest

from jointkd.evaluation.against_teacher import NO_TEACHER, AgainstTeacher
from jointkd.evaluation.predictions import Predicted
from tests.files import frames

(WATER,) = frames(1)  # O, H, H
RNG = np.random.default_rng(0)
STUDENT, TEACHER = (
    Predicted(WATER, 0.0, RNG.normal(size=3), np.zeros((3, 3)), hessian_rows=RNG.normal(size=(2, 3, 3)))
    for _ in range(2)
)
PREDICTED = {"student": STUDENT, "teacher": TEACHER}
ZERO = {1: -13.0, 8: -2040.0}


def test_atomic_energies_are_compared_on_the_zero_of_the_student():
    sums = AgainstTeacher("teacher", {"student": ZERO}).sums("student", PREDICTED)
    expected = STUDENT.energies - TEACHER.energies - [-2040.0, -13.0, -13.0]
    assert (sums.atomic_energies, sums.atoms) == pytest.approx((1e3 * np.abs(expected).sum(), 3))
    assert (sums.rows, sums.entries) == pytest.approx((np.abs(STUDENT.hessian_rows - TEACHER.hessian_rows).sum(), 18))


def test_of_a_student_without_a_zero_atomic_energies_are_not_compared():
    sums = AgainstTeacher("teacher").sums("student", PREDICTED)
    assert sums.atoms == 0
    assert sums.entries == 18


def test_a_teacher_is_not_compared_with_itself():
    assert AgainstTeacher("teacher", {"student": ZERO}).sums("teacher", PREDICTED) == NO_TEACHER
