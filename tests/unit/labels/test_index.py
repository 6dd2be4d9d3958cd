"""The index of a label store is a cache: it spares reading, and never says what is not so."""

import os
import resource
from dataclasses import replace

import numpy as np
import pytest

from jointkd.errors import CorruptShard, StorageError
from jointkd.labels import shards
from jointkd.labels import store as store_module
from jointkd.labels.index import FILE, ShardEntry, read_index, write_index
from jointkd.labels.store import LabelStore
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, frames_of, rows_of

FRAMES = frames_of(90)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A store of 90 shards of one structure, the last of them failed, opened once."""
    path = tmp_path_factory.mktemp("large") / "labels"
    store = LabelStore.create(path, IDENTITY, SETTINGS)
    ids = rows_of(FRAMES)
    for frame, labels in zip(FRAMES, NumberTeacher().label(FRAMES, [ids[frame.key] for frame in FRAMES]), strict=True):
        store.append(
            {frame.key: labels} if frame is not FRAMES[-1] else {}, {} if frame is not FRAMES[-1] else {frame.key: "no"}
        )
    LabelStore.open(path)
    return path


@pytest.fixture
def copied(large, tmp_path):
    """A copy whose index is right."""
    path = tmp_path / "labels"
    (path / "shards").mkdir(parents=True)
    for file in large.rglob("*"):
        if file.is_file():
            (path / file.relative_to(large)).parent.mkdir(exist_ok=True)
            (path / file.relative_to(large)).write_bytes(file.read_bytes())
            found = file.stat()
            os.utime(path / file.relative_to(large), ns=(found.st_atime_ns, found.st_mtime_ns))
    return path


def contents(store: LabelStore):
    keys = store.keys()
    return keys, store.failed, {key: store.row_count(key) for key in keys}, store.content_hash()


def test_an_opened_store_of_many_shards_has_an_index_and_the_same_contents_without_it(large, copied):
    assert len(read_index(copied)) == 90
    with_index = contents(LabelStore.open(copied))
    (copied / FILE).unlink()
    assert contents(LabelStore.open(copied)) == with_index
    assert with_index[0] == {frame.key for frame in FRAMES[:-1]}
    assert with_index[1] == {FRAMES[-1].key: "no"}


def test_a_store_that_is_only_read_gets_no_index(copied):
    (copied / FILE).unlink(missing_ok=True)
    store = LabelStore.open(copied, read_only=True)
    store.verify()
    assert not (copied / FILE).exists()
    LabelStore.open(copied)
    assert (copied / FILE).exists()


def test_a_store_with_an_index_opens_without_reading_a_shard(copied, monkeypatch):
    monkeypatch.setattr(shards, "safe_open", lambda *_, **__: pytest.fail("a shard is read"))
    assert len(LabelStore.open(copied)) == 89


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no index", b"\x00" * 100])
def test_an_index_that_cannot_be_read_is_made_again(copied, content):
    (copied / FILE).write_bytes(content)
    assert len(LabelStore.open(copied)) == 89
    assert len(read_index(copied)) == 90


def test_a_shard_that_is_gone_or_new_or_changed_is_not_as_the_index_says(copied):
    first, second, *_ = sorted((copied / "shards").iterdir())
    entries = read_index(copied)
    (gone,), (lying,) = entries[first.name].keys, entries[second.name].keys
    first.unlink()
    write_index(copied, {**entries, second.name: replace(entries[second.name], keys=["0" * 32], changed=1)})
    store = LabelStore.open(copied)
    assert gone not in store
    assert lying in store
    assert "0" * 32 not in store
    new = FRAMES[:2]
    ids = rows_of(new)
    labels = NumberTeacher().label(new, [ids[frame.key] for frame in new])
    store.append({f"{number:032x}": label for number, label in enumerate(labels)})
    assert f"{1:032x}" in LabelStore.open(copied)


def test_a_verified_shard_is_verified_again_only_after_it_has_changed(copied, monkeypatch):
    LabelStore.open(copied).verify()
    checked = []
    real = store_module.is_intact
    monkeypatch.setattr(store_module, "is_intact", lambda shard: checked.append(shard) or real(shard))
    LabelStore.open(copied).verify()
    assert not checked
    shard = sorted((copied / "shards").iterdir())[5]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CorruptShard, match=shard.name):
        LabelStore.open(copied).verify()


def test_a_store_has_more_shards_than_a_process_may_open(copied, monkeypatch):
    monkeypatch.setattr(shards, "OPEN_SHARDS", 8)
    store = LabelStore.open(copied)
    for frame in FRAMES[:-1]:
        assert len(store.read(frame.key).forces) == len(frame)
    assert len(store._shards._open) == 8


def test_an_index_that_cannot_be_written_is_done_without(copied):
    (copied / FILE).unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        store = LabelStore.open(copied)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(store) == 89
    assert not (copied / FILE).exists()


def test_a_shard_without_permission_is_not_called_damaged(copied, monkeypatch):
    (copied / FILE).unlink()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shards, "safe_open", refuse)
    with pytest.raises(StorageError, match=r"cannot be read \(Permission denied\); see to its permissions"):
        LabelStore.open(copied)


def test_the_index_keeps_the_numbers_of_rows_and_probes(tmp_path):
    entry = ShardEntry(1, 2, ["a" * 32, "b" * 32], np.array([4, 0]), np.array([0, 3]), {})
    write_index(tmp_path, {"one": entry})
    found = read_index(tmp_path)["one"]
    assert found.rows.tolist() == [4, 0]
    assert found.probes.tolist() == [0, 3]


def test_the_index_keeps_every_entry(tmp_path):
    entries = read_index(tmp_path)
    assert entries == {}
    write_index(tmp_path, {})
    assert read_index(tmp_path) == {}
    assert np.load(tmp_path / FILE, allow_pickle=False)["format"] == 2
