"""Options of data sets out of range, or without effect, are refused by name."""

import math

import pytest

from jointkd.data.options import FileData
from jointkd.data.splits import Split
from jointkd.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_force": math.nan}, "data.max_force=nan must be a positive number in eV/Å"),
        ({"max_force": 0.0}, "data.max_force=0.0 must be a positive number"),
        ({"batch_size": 0}, "data.batch_size=0 must be a positive integer"),
        ({"workers": -1}, "data.workers=-1 must be an integer of at least 0"),
        ({"seed": -1}, "data.seed=-1 must be an integer from 0 to 4294967295"),
        ({"split_key": "fold"}, "data.split_key=fold is not used with data.split.by=frame; set data.split.by=file"),
    ],
)
def test_an_option_that_means_nothing_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FileData(name="mine", path="a.xyz", **options)


@pytest.mark.parametrize("split", [Split(by="file"), Split(official_test=True), Split(path="split.json")])
def test_the_split_of_a_file_is_accepted_where_it_is_used(split):
    assert FileData(name="mine", path="a.xyz", split_key="fold", split=split).split_key == "fold"
    assert FileData(name="mine", path="a.xyz", max_force=math.inf).max_force == math.inf
