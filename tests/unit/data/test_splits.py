"""A split depends on content alone, respects the shares, and never divides a group."""

import json
import os
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from jointkd.data.splits import SPLITS, Split, hashes, save, shared_groups
from jointkd.errors import ConfigError, DataError
from jointkd.structures.frame import Frame
from tests.files import frames

GOLDEN_KEY = "6ddf00c875c41f8807b911ebfc4de297"  # if these change, all existing labels and splits are invalid
GOLDEN_SPLIT = ([5, 6], [2, 7])


def points(count: int, groups: int = 0) -> list[Frame]:
    return [
        Frame(
            np.array([1, 8]), np.array([[0.0, 0, 0], [0, 0, 1 + 0.001 * i]]), group=f"g{i % groups}" if groups else ""
        )
        for i in range(count)
    ]


def divided(split: Split, some: list[Frame]) -> dict[str, list[Frame]]:
    """The frames of each split."""
    return {name: [some[index] for index in indices] for name, indices in split.indices(some).items()}


def by_key(parts: dict[str, list[Frame]]) -> dict[str, str]:
    return {frame.key: split for split, part in parts.items() for frame in part}


@pytest.mark.parametrize("by", ["frame", "group"])
def test_the_order_of_the_frames_does_not_matter(by):
    some = points(60, groups=12)
    shuffled = random.Random(0).sample(some, len(some))
    split = Split(by=by)
    assert by_key(divided(split, some)) == by_key(divided(split, shuffled))


def test_frames_keep_the_order_of_the_file_within_a_split():
    some = points(30)
    for part in divided(Split(), some).values():
        assert part == [frame for frame in some if frame in part]


def test_a_split_is_the_same_on_every_machine():
    assert points(1)[0].key == GOLDEN_KEY
    indices = Split().indices(points(20))
    assert (indices["val"], indices["test"]) == GOLDEN_SPLIT


def test_a_key_depends_on_the_structure_and_not_on_labels():
    frame = frames(1)[0]
    assert replace(frame, energy=0.0, forces=None, group="other", source="elsewhere").key == frame.key
    assert replace(frame, cell=np.eye(3)).key == frame.key  # the cell of a structure without periodicity has no effect
    assert replace(frame, positions=frame.positions + 1e-4).key != frame.key
    assert replace(frame, numbers=np.array([8, 1, 6])).key != frame.key
    periodic = replace(frame, cell=9 * np.eye(3), pbc=np.array([True, True, True]))
    assert len({frame.key, periodic.key, replace(periodic, cell=9.1 * np.eye(3)).key}) == 3


@pytest.mark.parametrize(("count", "shares"), [(10, (0.8, 0.1, 0.1)), (200, (0.5, 0.2, 0.3)), (118, (0.6, 0.2, 0.2))])
def test_shares_are_respected(count, shares):
    parts = divided(Split("frame", *shares), points(count))
    assert sum(map(len, parts.values())) == count
    for split, share in zip(SPLITS, shares, strict=True):
        assert abs(len(parts[split]) - share * count) <= 1


def test_another_seed_gives_another_division():
    some = points(40)
    assert by_key(divided(Split(seed=0), some)) != by_key(divided(Split(seed=1), some))


def test_groups_are_never_divided():
    parts = divided(Split(by="group", train=0.6, val=0.2, test=0.2), points(100, groups=10))
    sizes = Counter(frame.group for part in parts.values() for frame in part)
    assert set(sizes.values()) == {10}
    train, val, test = ({frame.group for frame in part} for part in parts.values())
    assert not train & val
    assert not train & test
    assert not val & test
    assert [len(train), len(val), len(test)] == [6, 2, 2]


def test_frames_without_a_group_are_refused_if_groups_must_stay_together():
    with pytest.raises(DataError, match=r"frame 3 has no group; set data.group_key"):
        Split(by="group").indices([*points(9, groups=3), replace(frames(4)[3], group="")])


def test_a_file_may_assign_structures_to_splits_and_unassigned_ones_are_counted(caplog):
    assigned = ["train", "test", "val", "train", "extra", None]
    some = [replace(frame, split=split) for frame, split in zip(points(6), assigned, strict=True)]
    with caplog.at_level("WARNING"):
        parts = divided(Split(by="file"), some)
    assert parts == {"train": [some[0], some[3]], "val": [some[2]], "test": [some[1]]}
    assert [record.getMessage() for record in caplog.records] == [
        "left out 1 structures: their split in the file is extra, not train, val or test",
        "left out 1 structures: their split in the file is missing, not train, val or test",
    ]


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match=r"the val split is empty"):
        Split().indices(points(2))
    with pytest.raises(DataError, match=r"the train split is empty .* set data.split_key"):
        Split(by="file").indices(points(9))
    with pytest.raises(DataError, match=r"the (val|test) split is empty"):
        Split(by="group").indices(points(9, groups=1))


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (1.1, -0.2, 0.1)])
def test_bad_shares_are_refused(shares):
    with pytest.raises(ConfigError, match=r"give three positive shares that sum to 1"):
        Split("frame", *shares).indices(points(10))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((20, 10, 5), (20, 10, 5)), ((20, 0.1, 0.1), (20, 4, 4)), ((0.5, 3, 0.25), (20, 3, 10)), ((30, 6, 4), (30, 6, 4))],
)
def test_numbers_of_structures_may_be_given_instead_of_shares(sizes, expected):
    parts = divided(Split("frame", *sizes), points(40))
    assert tuple(len(parts[split]) for split in SPLITS) == expected


def test_fewer_training_structures_are_some_of_the_same_and_the_other_splits_stay():
    many, few = (by_key(divided(Split("frame", count, 5, 6), points(40))) for count in (20, 8))
    kept = {key for key, split in few.items() if split == "train"}
    assert kept < {key for key, split in many.items() if split == "train"}
    others = [{key: split for key, split in each.items() if split != "train"} for each in (many, few)]
    assert others[0] == others[1]


@pytest.mark.parametrize("sizes", [(30, 8, 4), (0.0, 5, 5), (20, -1, 5), (float("nan"), 5, 5), (20, 5, 0.0)])
def test_numbers_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ConfigError, match=r"and there are 40 structures to divide; give smaller positive numbers"):
        Split("frame", *sizes).indices(points(40))


def test_structures_that_were_left_out_stay_so_when_a_split_is_restored(tmp_path):
    some = points(40)
    split = Split("frame", 20, 5, 6)
    parts = split.indices(some)
    used = {index for part in parts.values() for index in part}
    keys = {name: [some[index].key for index in part] for name, part in parts.items()}
    save(split, keys, tmp_path / "split.json", [frame.key for index, frame in enumerate(some) if index not in used])
    assert Split(path=str(tmp_path / "split.json")).indices(some) == parts


def test_an_unknown_way_to_split_is_refused():
    with pytest.raises(ConfigError, match=r"data.split.by='random' is not known; choose file, frame or group"):
        Split(by="random").indices(points(10))


def official(count: int) -> list[Frame]:
    """Frames of which the source assigns every fifth to the test split, and the others to none."""
    return [
        replace(frame, split=None if number % 5 else "test") for number, frame in enumerate(points(count, groups=9))
    ]


@pytest.mark.parametrize("by", ["frame", "group"])
def test_an_official_test_split_is_kept_and_the_rest_divided(by):
    some = official(100)
    parts = divided(Split(by, train=0.7, val=0.3, test=0.0, official_test=True), some)
    assert parts["test"] == some[::5]
    assert len(parts["train"]) == pytest.approx(56, abs=1 if by == "frame" else 9)
    assert len(parts["train"]) + len(parts["val"]) == 80


def test_a_missing_official_test_split_is_refused():
    with pytest.raises(DataError, match=r"data.split.official_test=true, but the source has no test split"):
        Split(train=0.85, val=0.15, test=0.0, official_test=True).indices(points(20))


def test_a_test_share_beside_an_official_test_split_is_refused():
    with pytest.raises(ConfigError, match=r"with data.split.official_test=true, train and val sum to 1 and test is 0"):
        Split(official_test=True).indices(official(20))


def keys_of(split: Split, some: list[Frame]) -> dict[str, list[str]]:
    return {name: [frame.key for frame in part] for name, part in divided(split, some).items()}


@pytest.fixture
def saved(tmp_path):
    """The file of a split of thirty frames, and the frames."""
    some = points(30)
    save(Split(seed=5), keys_of(Split(seed=5), some), tmp_path / "split.json")
    return tmp_path / "split.json", some


def test_a_saved_split_is_restored_whatever_the_other_options(saved):
    path, some = saved
    assert by_key(divided(Split(path=str(path), by="group", seed=9), some[::-1])) == by_key(
        divided(Split(seed=5), some)
    )


def test_a_saved_split_records_the_options_of_the_division(saved):
    path, some = saved
    content = json.loads(path.read_text())
    assert (content["by"], content["seed"], content["train"]) == ("frame", 5, 0.8)
    keys = keys_of(Split(seed=5), some)
    assert content["sha256"] == hashes(keys) == hashes({split: part[::-1] for split, part in keys.items()})


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (slice(None, 28), r"2 of 30 structures of data.split.path=\S+ are not in the data \(such as \w+\)"),
        (slice(None), r"3 of 33 structures of the data are not in data.split.path=\S+ \(such as \w+\)"),
    ],
)
def test_a_saved_split_that_does_not_fit_the_data_is_refused(saved, chosen, message):
    path, some = saved
    others = points(40)[30:33] if chosen == slice(None) else []
    remedy = r"; give the data for which it was saved, or leave data.split.path out to divide the data anew"
    with pytest.raises(DataError, match=message + remedy):
        Split(path=str(path)).indices([*some[chosen], *others])


@pytest.mark.parametrize("content", [None, "", "{}", '{"keys": {"train": ["a"]}}', '{"keys": 3}'])
def test_a_file_that_is_not_a_saved_split_is_refused(tmp_path, content):
    path = tmp_path / "split.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"split.json must be a saved split .*give the split.json of a run"):
        Split(path=str(path)).indices(points(9))


def test_a_structure_in_two_splits_is_refused(saved):
    path, some = saved
    content = json.loads(path.read_text())
    content["keys"]["test"].append(content["keys"]["train"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"names a structure twice"):
        Split(path=str(path)).indices(some)


def test_the_share_of_groups_that_also_occur_in_training_is_computed():
    a, b, c, nothing = (replace(points(1)[0], group=name) for name in ("a", "b", "c", ""))
    assert shared_groups({"train": [a, b], "val": [a, a, c], "test": [b, nothing]}) == {"val": 0.5, "test": 1.0}
    assert shared_groups({"train": [nothing], "val": [nothing], "test": [a]}) == {"test": 0.0}


def test_a_saved_split_that_is_a_fifo_or_nested_too_deeply_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "deep.json").write_text(200_000 * "[")
    for name in ("pipe.json", "deep.json"):
        with pytest.raises(DataError, match=rf"data.split.path=.*{name} must be a saved split"):
            Split(path=str(tmp_path / name)).indices(frames(9))


@pytest.mark.parametrize("counted", ["train", "val", "test"])
def test_a_share_beside_a_number_may_be_less_than_one_structure(counted):
    shares = {"train": 0.1, "val": 0.1, "test": 0.1, counted: 5}
    parts = Split(**shares).indices(frames(9))  # 0.9 structures are one
    assert {name: len(part) for name, part in parts.items()} == {"train": 1, "val": 1, "test": 1, counted: 5}
