"""Which labels are made: options out of range are refused by name."""

import pytest

from jointkd.errors import ConfigError
from jointkd.labelling.plan import LabelOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard_size": -1}, "label.shard_size=-1 must be a positive integer"),
        ({"shard_size": 0}, "label.shard_size=0 must be a positive integer"),
        ({"seed": -1}, "label.seed=-1 must be an integer from 0 to 4294967295"),
        ({"rows": -1}, "label.rows=-1 must be a number of Hessian rows or all"),
        ({"eval_rows": 1.5}, "label.eval_rows=1.5 must be a number of Hessian rows or all"),
    ],
)
def test_an_option_that_means_nothing_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        LabelOptions(**options)
