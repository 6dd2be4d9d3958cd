"""A split depends on content alone, respects the shares, and never cuts a group."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from jointkd.data.splits import SPLITS, Split
from jointkd.errors import ConfigError, DataError
from jointkd.frame import Frame
from tests.files import frames

GOLDEN_KEY = "6ddf00c875c41f8807b911ebfc4de297"  # a change of these invalidates every label and split there is
GOLDEN_SPLIT = ([5, 6], [2, 7])


def points(count: int, groups: int = 0) -> list[Frame]:
    return [
        Frame(
            np.array([1, 8]), np.array([[0.0, 0, 0], [0, 0, 1 + 0.001 * i]]), group=f"g{i % groups}" if groups else ""
        )
        for i in range(count)
    ]


def by_key(parts: dict[str, list[Frame]]) -> dict[str, str]:
    return {frame.key: split for split, part in parts.items() for frame in part}


@pytest.mark.parametrize("by", ["frame", "group"])
def test_the_order_of_the_frames_does_not_matter(by):
    some = points(60, groups=12)
    shuffled = random.Random(0).sample(some, len(some))
    split = Split(by=by)
    assert by_key(split(some)) == by_key(split(shuffled))


def test_frames_keep_the_order_of_the_file_within_a_split():
    some = points(30)
    for part in Split()(some).values():
        assert part == [frame for frame in some if frame in part]


def test_a_split_is_the_same_on_every_machine():
    assert points(1)[0].key == GOLDEN_KEY
    numbers = {
        split: [round((f.positions[1, 2] - 1) * 1000) for f in part] for split, part in Split()(points(20)).items()
    }
    assert (numbers["val"], numbers["test"]) == GOLDEN_SPLIT


def test_a_key_knows_content_and_not_labels():
    frame = frames(1)[0]
    assert replace(frame, energy=0.0, forces=None, group="other", source="elsewhere").key == frame.key
    assert replace(frame, cell=np.eye(3)).key == frame.key  # where nothing is periodic a cell means nothing
    assert replace(frame, positions=frame.positions + 1e-4).key != frame.key
    assert replace(frame, numbers=np.array([8, 1, 6])).key != frame.key
    periodic = replace(frame, cell=9 * np.eye(3), pbc=np.array([True, True, True]))
    assert len({frame.key, periodic.key, replace(periodic, cell=9.1 * np.eye(3)).key}) == 3


@pytest.mark.parametrize(("count", "shares"), [(10, (0.8, 0.1, 0.1)), (200, (0.5, 0.2, 0.3)), (118, (0.6, 0.2, 0.2))])
def test_shares_are_respected(count, shares):
    parts = Split("frame", *shares)(points(count))
    assert sum(map(len, parts.values())) == count
    for split, share in zip(SPLITS, shares, strict=True):
        assert abs(len(parts[split]) - share * count) <= 1


def test_another_seed_is_another_division():
    some = points(40)
    assert by_key(Split(seed=0)(some)) != by_key(Split(seed=1)(some))


def test_groups_are_never_cut():
    parts = Split(by="group", train=0.6, val=0.2, test=0.2)(points(100, groups=10))
    places = Counter(frame.group for part in parts.values() for frame in part)
    assert set(places.values()) == {10}
    held = [{frame.group for frame in part} for part in parts.values()]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]
    assert [len(groups) for groups in held] == [6, 2, 2]


def test_frames_without_a_group_are_refused_where_groups_are_to_be_kept():
    with pytest.raises(DataError, match=r"frame 3 has no group; set data.group_key"):
        Split(by="group")([*points(9, groups=3), replace(frames(4)[3], group="")])


def test_a_file_may_say_itself_what_is_what_and_what_it_does_not_say_is_counted(caplog):
    said = ["train", "test", "val", "train", "extra", None]
    some = [replace(frame, split=split) for frame, split in zip(points(6), said, strict=True)]
    with caplog.at_level("WARNING"):
        parts = Split(by="file")(some)
    assert parts == {"train": [some[0], some[3]], "val": [some[2]], "test": [some[1]]}
    assert [record.getMessage() for record in caplog.records] == [
        "left out 1 structures: the file says extra, not train, val or test",
        "left out 1 structures: the file says no split, not train, val or test",
    ]


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match=r"the val split is empty"):
        Split()(points(2))
    with pytest.raises(DataError, match=r"the train split is empty .* set data.split_key"):
        Split(by="file")(points(9))
    with pytest.raises(DataError, match=r"the (val|test) split is empty"):
        Split(by="group")(points(9, groups=1))


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (1.1, -0.2, 0.1)])
def test_bad_shares_are_refused(shares):
    with pytest.raises(ConfigError, match=r"give three positive shares that sum to 1"):
        Split("frame", *shares)(points(10))


def test_an_unknown_way_to_split_is_refused():
    with pytest.raises(ConfigError, match=r"data.split.by='random' is not known; choose file, frame or group"):
        Split(by="random")(points(10))
