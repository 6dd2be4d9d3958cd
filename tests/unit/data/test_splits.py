"""A split depends on content alone, respects the shares, and never cuts a group."""

import json
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from jointkd.data.splits import SPLITS, Split, hashes, save, shared_groups
from jointkd.errors import ConfigError, DataError
from jointkd.structures.frame import Frame
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


def official(count: int) -> list[Frame]:
    """Frames of which the source calls every fifth test, and says nothing of the others."""
    return [
        replace(frame, split=None if number % 5 else "test") for number, frame in enumerate(points(count, groups=9))
    ]


@pytest.mark.parametrize("by", ["frame", "group"])
def test_an_official_test_split_is_kept_and_the_rest_divided(by):
    some = official(100)
    parts = Split(by, train=0.7, val=0.3, test=0.0, official_test=True)(some)
    assert parts["test"] == some[::5]
    assert len(parts["train"]) == pytest.approx(56, abs=1 if by == "frame" else 9)
    assert len(parts["train"]) + len(parts["val"]) == 80


def test_an_official_test_split_that_is_not_there_is_refused():
    with pytest.raises(DataError, match=r"data.split.official_test=true, and the source calls nothing test"):
        Split(train=0.85, val=0.15, test=0.0, official_test=True)(points(20))


def test_a_share_for_the_test_beside_an_official_one_is_refused():
    with pytest.raises(ConfigError, match=r"with data.split.official_test=true, train and val sum to 1 and test is 0"):
        Split(official_test=True)(official(20))


@pytest.fixture
def kept(tmp_path):
    """The file of a split of thirty frames, and the frames."""
    some = points(30)
    parts = Split(seed=5)(some)
    save(
        Split(seed=5), {split: [frame.key for frame in part] for split, part in parts.items()}, tmp_path / "split.json"
    )
    return tmp_path / "split.json", some


def test_a_saved_split_is_given_back_whatever_else_is_asked_for(kept):
    path, some = kept
    assert by_key(Split(path=str(path), by="group", seed=9)(some[::-1])) == by_key(Split(seed=5)(some))


def test_a_saved_split_says_how_it_came_to_be(kept):
    path, some = kept
    said = json.loads(path.read_text())
    assert (said["by"], said["seed"], said["train"]) == ("frame", 5, 0.8)
    keys = {split: [frame.key for frame in part] for split, part in Split(seed=5)(some).items()}
    assert said["sha256"] == hashes(keys) == hashes({split: part[::-1] for split, part in keys.items()})


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (slice(None, 28), r"2 of 30 structures of data.split.path=\S+ are not in the data \(such as \w+\)"),
        (slice(None), r"3 of 33 structures of the data are not in data.split.path=\S+ \(such as \w+\)"),
    ],
)
def test_a_saved_split_that_does_not_fit_the_data_is_refused(kept, chosen, said):
    path, some = kept
    others = points(40)[30:33] if chosen == slice(None) else []
    with pytest.raises(DataError, match=said + r"; give the data that it was made for, or leave data.split.path out"):
        Split(path=str(path))([*some[chosen], *others])


@pytest.mark.parametrize("content", [None, "", "{}", '{"keys": {"train": ["a"]}}', '{"keys": 3}'])
def test_what_is_no_file_of_a_split_is_refused(tmp_path, content):
    path = tmp_path / "split.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=r"split.json is no file of a split .*give the split.json of a run"):
        Split(path=str(path))(points(9))


def test_a_structure_in_two_splits_is_refused(kept):
    path, some = kept
    said = json.loads(path.read_text())
    said["keys"]["test"].append(said["keys"]["train"][0])
    path.write_text(json.dumps(said))
    with pytest.raises(DataError, match=r"names a structure twice"):
        Split(path=str(path))(some)


def test_the_share_of_groups_that_training_has_seen_is_known():
    a, b, c, nothing = (replace(points(1)[0], group=name) for name in ("a", "b", "c", ""))
    assert shared_groups({"train": [a, b], "val": [a, a, c], "test": [b, nothing]}) == {"val": 0.5, "test": 1.0}
    assert shared_groups({"train": [nothing], "val": [nothing], "test": [a]}) == {"test": 0.0}
