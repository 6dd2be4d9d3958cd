"""Status, verification and merging of label stores."""

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from jointkd.errors import CorruptShard, LabelMismatch
from jointkd.labelling.loop import label
from jointkd.labels.maintenance import damaged_shards, merge, rate_of, set_aside, status, summary
from jointkd.labels.store import LabelStore
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, calls_in, frames_of, rows_of

FRAMES = frames_of(12)
KEYS = [frame.key for frame in FRAMES]


def labelled(path: Path, frames: list = FRAMES, teacher: NumberTeacher | None = None) -> LabelStore:
    store = LabelStore.create(path, IDENTITY, SETTINGS)
    label(frames, rows_of(frames), teacher or NumberTeacher(), store, shard_size=3)
    return store


def write_times(store: LabelStore, *ages: float) -> None:
    for shard, age in zip(sorted(store.shards()), ages, strict=True):
        os.utime(shard, (time.time() - age,) * 2)


def test_the_status_counts_done_remaining_and_failed_structures_of_those_given(tmp_path):
    store = labelled(tmp_path, FRAMES[:9], NumberTeacher(spoilt=KEYS[4]))
    progress = status(store, KEYS[3:])
    assert (progress.total, progress.done, progress.left) == (9, 5, 3)
    assert progress.failed == {KEYS[4]: "the teacher's labels are not finite"}


def test_the_rate_follows_from_the_times_of_the_shards(tmp_path):
    store = labelled(tmp_path)
    write_times(store, 40, 30, 20, 10)
    progress = status(store, KEYS)
    assert progress.rate == pytest.approx(0.3, rel=1e-3)
    assert progress.since == pytest.approx(10, abs=1)


def test_the_rate_excludes_the_pause_before_the_last_run():
    assert rate_of([(0, 3), (10, 3), (20, 3), (9000, 3), (9010, 3), (9020, 3)]) == pytest.approx(0.3)


@pytest.mark.parametrize("written", [[], [(5.0, 3)], [(5.0, 3), (5.0, 3)]])
def test_there_is_no_rate_without_two_different_times(written):
    assert rate_of(written) is None


def test_the_summary_counts_failed_structures_by_reason(tmp_path):
    store = labelled(tmp_path)
    store.append(
        {}, {"a": "it is wrong (off by 1e-3, bound 1e-9)", "b": "it is wrong (off by 2e-3, bound 1e-9)", "c": "x"}
    )
    assert summary(store) == (
        f"12 structures are labelled, 3 failed (2 because it is wrong, 1 because x): {store.path}"
    )


def spoil(shard: Path, how: str) -> None:
    content = bytearray(shard.read_bytes())
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    else:
        content[-10] ^= 1
    shard.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "empty", "one bit"])
def test_a_damaged_shard_is_moved_away_and_only_its_structures_are_labelled_again(tmp_path, how):
    store = labelled(tmp_path / "labels")
    whole = store.content_hash()
    bad = sorted(store.shards())[1]
    spoil(bad, how)
    damaged = damaged_shards(store.path)
    assert damaged == {bad: "its checksum does not match its name"}
    folder = set_aside(store.path, damaged)
    assert [file.name for file in folder.iterdir()] == [bad.name]
    assert not damaged_shards(store.path)
    again = labelled(store.path, teacher=NumberTeacher(calls=tmp_path / "calls"))
    assert sorted(calls_in(tmp_path / "calls")) == sorted(store.shards()[bad])
    assert again.content_hash() == whole


def test_a_foreign_file_is_reported_even_if_its_name_is_its_checksum(tmp_path):
    store = labelled(tmp_path)
    content = save({"weight": np.zeros(3)})
    foreign = tmp_path / "shards" / f"{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
    foreign.write_bytes(content)
    assert damaged_shards(store.path) == {foreign: "its header is not that of a label shard"}


def test_merging_copies_new_structures_and_nothing_twice(tmp_path):
    one, two = labelled(tmp_path / "one", FRAMES[:6]), labelled(tmp_path / "two", FRAMES[3:])
    assert merge(one, two) == 6
    assert one.content_hash() == labelled(tmp_path / "whole").content_hash()
    assert len(list((one.path / "shards").iterdir())) == 4
    assert merge(one, two) == 0


def test_merging_copies_failed_structures_too(tmp_path):
    one = labelled(tmp_path / "one", FRAMES[:3])
    merge(one, labelled(tmp_path / "two", FRAMES[3:6], NumberTeacher(spoilt=KEYS[4])))
    assert one.failed.keys() == {KEYS[4]}
    assert len(one) == 5


def test_labels_of_another_teacher_cannot_be_merged(tmp_path):
    one = labelled(tmp_path / "one", FRAMES[:3])
    other = LabelStore.create(tmp_path / "two", replace(IDENTITY, dtype="float32"), SETTINGS)
    with pytest.raises(LabelMismatch, match="dtype=float64, not dtype=float32"):
        merge(one, other)


def test_a_store_cannot_be_merged_with_itself(tmp_path):
    store = labelled(tmp_path)
    with pytest.raises(LabelMismatch, match="is the store itself"):
        merge(store, LabelStore.open(tmp_path / "shards" / ".."))


def test_damaged_labels_cannot_be_merged(tmp_path):
    one, two = labelled(tmp_path / "one", FRAMES[:6]), labelled(tmp_path / "two", FRAMES[6:])
    spoil(min(two.shards()), "one bit")
    with pytest.raises(CorruptShard, match="checksum"):
        merge(one, two)
    assert len(one) == 6
