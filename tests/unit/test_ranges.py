"""Numeric options out of range are refused with their name, value and range."""

import math

import numpy as np
import pytest

from jointkd.errors import ConfigError
from jointkd.ranges import check_integer, check_number, check_seed


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_integer("a.b", 0), r"a\.b=0 must be a positive integer; give at least 1"),
        (lambda: check_integer("a.b", -1, least=0), r"a\.b=-1 must be an integer of at least 0; give at least 0"),
        (lambda: check_integer("a.b", 1.5), r"a\.b=1\.5 must be a positive integer"),
        (lambda: check_integer("a.b", True), r"a\.b=True must be a positive integer"),
        (lambda: check_integer("a.b", "3"), r"a\.b=3 must be a positive integer"),
        (lambda: check_integer("a.b", 200, 1, 118), r"a\.b=200 must be an integer from 1 to 118; give one, as a\.b=1"),
        (lambda: check_seed("seed", -1), "seed=-1 must be an integer from 0 to 4294967295"),
        (lambda: check_seed("seed", 2**32), "seed=4294967296 must be an integer from 0 to 4294967295"),
        (lambda: check_number("a.b", 0.0, "Å"), r"a\.b=0\.0 must be a positive number in Å; give a number above 0"),
        (lambda: check_number("a.b", math.nan), r"a\.b=nan must be a positive number"),
        (lambda: check_number("a.b", math.inf), r"a\.b=inf must be a positive number"),
        (
            lambda: check_number("a.b", -5, zero=True),
            r"a\.b=-5 must be a number of at least 0; give a number that is not",
        ),
        (lambda: check_number("a.b", None), r"a\.b=None must be a positive number"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(check, message):
    with pytest.raises(ConfigError, match=message):
        check()


def test_values_within_range_are_accepted():
    check_integer("a", np.int64(3), 1, 3)
    check_seed("a", 2**32 - 1)
    check_number("a", 0, zero=True)
    check_number("a", np.float32(0.5))
    check_number("a", math.inf, infinite=True)
