"""Options of data sets that mean nothing are refused by name."""

import pytest

from jointkd.data.options import FileData
from jointkd.data.splits import Split
from jointkd.errors import ConfigError
from tests.files import frames


@pytest.mark.parametrize("limit", [float("nan"), 0.0, -5.0])
def test_a_largest_force_that_is_not_positive_is_refused(limit):
    with pytest.raises(ConfigError, match=rf"data.max_force={limit} must be a positive number"):
        FileData(name="mine", path="a.xyz", max_force=limit)


def test_no_limit_on_forces_may_be_asked_for():
    assert FileData(name="mine", path="a.xyz", max_force=float("inf")).max_force == float("inf")


def test_shares_that_are_not_numbers_are_refused():
    with pytest.raises(ConfigError, match=r"data.split.train, val and test are \(nan"):
        Split(train=float("nan")).indices(frames(9))
