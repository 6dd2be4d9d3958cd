"""Contracts as such: errors against bounds, outcomes in words, and derivatives from differences."""

import math

import numpy as np
import pytest
import torch

from jointkd.contracts.properties import Contract, DoesNotApply, difference, outcomes, slope
from jointkd.errors import TeacherError


class First(Contract):
    def test_near(self) -> None:
        """Two numbers are near."""
        self.within(1e-9, 1e-8, "far from its bound")
        self.within(5e-11, 1e-10, "near its bound")
        self.within(0.0, 0.0, "exact")

    def test_far(self) -> None:
        """Two numbers are near, as
        they are not."""
        self.within(2e-8, 1e-8, "energy, eV")


class Second(First):
    def test_far(self) -> None:
        """Another property under the same name."""
        raise DoesNotApply("there is none")

    def test_not_a_number(self) -> None:
        """A number is a number."""
        self.within(math.nan, 1.0, "nothing")

    def test_refused(self) -> None:
        """Everything is labelled."""
        raise TeacherError("no", "yes")

    def helper(self) -> None:
        raise AssertionError


def test_outcomes_are_lines_in_the_order_of_the_properties_with_the_error_that_is_nearest_to_its_bound():
    assert [str(each) for each in outcomes(First)] == [
        "passed          Two numbers are near (5.0e-11, bound 1e-10)",
        "failed          Two numbers are near, as (energy, eV: 2.0e-08, bound 1e-08)",
    ]
    assert [str(each) for each in outcomes(Second)][1:] == [
        "does not apply  Another property under the same name (there is none)",
        "failed          A number is a number (nothing: nan, bound 1e+00)",
        "failed          Everything is labelled (TeacherError: no; yes)",
    ]


def test_a_difference_is_relative_to_the_largest_expected_value_or_to_a_floor():
    assert difference(torch.tensor([1.0, 4.5]), np.array([1.0, 4.0])) == 0.125
    assert difference(np.array([0.01]), np.array([0.0]), floor=0.1) == pytest.approx(0.1)
    assert difference(np.zeros(3), np.zeros(3)) == 0.0
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))) == 0.0


@pytest.mark.parametrize(
    ("found", "expected"),
    [(np.zeros(2), np.zeros(3)), (np.array([np.nan]), np.zeros(1)), (np.zeros(1), np.array([np.inf]))],
)
def test_other_shapes_and_values_that_are_not_finite_differ_infinitely(found, expected):
    assert difference(found, expected) == math.inf


def test_a_slope_is_extrapolated_from_steps_that_are_large_for_simple_differences():
    found, error = slope(lambda x: np.array([np.sin(3 * x), np.exp(x)]), step=0.3)
    np.testing.assert_allclose(found, [3, 1], rtol=1e-11)
    assert (error < 1e-10).all()


def test_a_slope_has_the_error_that_noise_leaves():
    rng = np.random.default_rng(0)
    found, error = slope(lambda x: np.array([np.sin(x) + 1e-6 * rng.normal()]), step=0.3)
    assert 1e-8 < error[0] < 1e-4
    assert abs(found[0] - 1) < 10 * error[0]


def test_a_step_function_has_no_slope():
    _, error = slope(lambda x: np.array([float(x > 1e-5)]), step=0.02)
    assert error[0] > 10
