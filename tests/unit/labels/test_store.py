"""The label store: reading, writing, damage, claims, and the choice of rows."""

import multiprocessing
import os
import pickle
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from jointkd.errors import CorruptShard, LabelMismatch, StorageError
from jointkd.files.atomic import ABANDONED
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, frames_of, probes_of, rows_of

FRAMES = frames_of(6)


def labels_of(frames: list, rows: int | str = 4) -> dict[str, TeacherLabels]:
    ids = rows_of(frames, rows)
    labels = NumberTeacher().label(frames, [ids[frame.key] for frame in frames])
    return {frame.key: label for frame, label in zip(frames, labels, strict=True)}


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    """A store with one shard of six labelled structures and a failed one."""
    store = LabelStore.create(tmp_path / "labels", IDENTITY, SETTINGS)
    store.append(labels_of(FRAMES), {"bad": "because"})
    return store


def the_shard(store: LabelStore) -> Path:
    (shard,) = (store.path / "shards").iterdir()
    return shard


def test_labels_are_read_as_they_were_written(store):
    again = LabelStore.open(store.path)
    assert again.keys() == {frame.key for frame in FRAMES}
    assert len(again) == 6
    assert again.failed == {"bad": "because"}
    assert again.teacher == IDENTITY
    assert again.settings == SETTINGS
    for key, label in labels_of(FRAMES).items():
        stored = again.read(key)
        assert stored.energy == label.energy
        for name in ("atomic_energies", "forces", "hessian_rows", "directions"):
            np.testing.assert_array_equal(getattr(stored, name), getattr(label, name))
            assert getattr(stored, name).dtype == getattr(label, name).dtype


def test_probes_are_read_as_they_were_written_and_counted_apart_from_rows(tmp_path):
    store = LabelStore.create(tmp_path, IDENTITY, {**SETTINGS, "rows": 0, "probes": 3})
    directions = {**probes_of(FRAMES[:3], 3), **rows_of(FRAMES[3:], 2)}
    labels = NumberTeacher().label(FRAMES, [directions[frame.key] for frame in FRAMES])
    store.append({frame.key: label for frame, label in zip(FRAMES, labels, strict=True)})
    again = LabelStore.open(store.path)
    for frame, label in zip(FRAMES, labels, strict=True):
        stored = again.read(frame.key)
        for name in ("hessian_rows", "directions"):
            np.testing.assert_array_equal(getattr(stored, name), getattr(label, name))
            assert getattr(stored, name).dtype == getattr(label, name).dtype
        np.testing.assert_array_equal(again.read_rows(frame.key, np.array([1])), label.hessian_rows[[1]])
    counts = [(again.row_count(frame.key), again.probe_count(frame.key)) for frame in FRAMES]
    assert counts == [(0, 3)] * 3 + [(2, 0)] * 3
    assert [again.direction_count(frame.key) for frame in FRAMES] == [3] * 3 + [2] * 3


def test_a_store_of_probes_is_not_one_without_rows(tmp_path):
    LabelStore.create(tmp_path / "probes", IDENTITY, {**SETTINGS, "rows": 0, "probes": 3})
    with pytest.raises(LabelMismatch, match=r"made with label\.probes=3, not label\.probes=0"):
        LabelStore.create(tmp_path / "probes", IDENTITY, {**SETTINGS, "rows": 0})
    LabelStore.create(tmp_path / "none", IDENTITY, {**SETTINGS, "rows": 0})
    with pytest.raises(LabelMismatch, match=r"made with label\.probes=0, not label\.probes=3"):
        LabelStore.create(tmp_path / "none", IDENTITY, {**SETTINGS, "rows": 0, "probes": 3})


def test_the_precision_of_labels_is_kept(tmp_path):
    store = LabelStore.create(tmp_path, replace(IDENTITY, dtype="float32"), SETTINGS)
    (key, label), *_ = labels_of(FRAMES).items()
    store.append({key: replace(label, hessian_rows=label.hessian_rows.astype(np.float32))})
    assert store.read(key).hessian_rows.dtype == np.float32


def test_labels_can_be_read_without_their_rows_but_with_their_numbers(store):
    labels = store.read(FRAMES[0].key, rows=False)
    assert len(labels.hessian_rows) == 0
    np.testing.assert_array_equal(labels.directions, rows_of(FRAMES)[FRAMES[0].key])


@pytest.mark.parametrize("rows", ["all", 4, 1])
def test_single_rows_are_slices_of_all_rows(tmp_path, rows):
    store = LabelStore.create(tmp_path, IDENTITY, SETTINGS)
    store.append(labels_of(FRAMES, rows))
    for frame in FRAMES:
        everything = store.read(frame.key).hessian_rows
        count = 3 * len(frame) if rows == "all" else min(rows, 3 * len(frame))
        assert everything.shape == (count, len(frame), 3)
        chosen = np.random.default_rng(0).choice(count, min(3, count), replace=False)
        np.testing.assert_array_equal(store.read_rows(frame.key, chosen), everything[chosen])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not report the memory of a process")
def test_reading_one_row_does_not_load_the_others(tmp_path):
    atoms = 1000
    label = TeacherLabels(
        0.0, np.zeros(atoms), np.zeros((atoms, 3)), np.ones((3 * atoms, atoms, 3)), np.arange(3 * atoms)
    )
    LabelStore.create(tmp_path, IDENTITY, SETTINGS).append({"large": label})  # 72 MB
    store = LabelStore.open(tmp_path)
    before = resident_megabytes()
    assert store.read_rows("large", np.array([1700])).shape == (1, atoms, 3)
    assert resident_megabytes() - before < 20


def resident_megabytes() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


def test_structures_without_rows_are_stored_like_others(tmp_path):
    store = LabelStore.create(tmp_path, IDENTITY, SETTINGS)
    store.append(labels_of(FRAMES, 0))
    assert store.read(FRAMES[0].key).hessian_rows.shape == (0, len(FRAMES[0]), 3)


def test_a_shard_may_hold_failed_structures_only(tmp_path):
    LabelStore.create(tmp_path, IDENTITY, SETTINGS).append({}, {"bad": "because"})
    again = LabelStore.open(tmp_path)
    assert again.failed == {"bad": "because"}
    assert len(again) == 0


@pytest.mark.parametrize(
    ("field", "other"), [("name", "another"), ("checkpoint", "1" * 64), ("dtype", "float32"), ("head", "pbe")]
)
def test_labels_of_another_teacher_are_refused_with_value_place_and_remedy(store, field, other):
    with pytest.raises(LabelMismatch) as caught:
        LabelStore.create(store.path, replace(IDENTITY, **{field: other}), SETTINGS)
    assert f"{field}={getattr(IDENTITY, field)}, not {field}={other}" in caught.value.problem
    assert str(store.path) in caught.value.problem
    assert "label.path=" in caught.value.remedy


@pytest.mark.parametrize(
    ("setting", "option", "other"), [("rows", "rows", "all"), ("eval_rows", "eval_rows", 8), ("row_seed", "seed", 1)]
)
def test_labels_of_another_choice_of_rows_are_refused(store, setting, option, other):
    with pytest.raises(LabelMismatch, match=f"label.{option}={SETTINGS[setting]}, not label.{option}={other}"):
        LabelStore.create(store.path, IDENTITY, {**SETTINGS, setting: other})


def test_the_same_teacher_with_newer_packages_continues_in_the_same_store(store):
    again = LabelStore.create(store.path, replace(IDENTITY, versions={"torch": "99"}), SETTINGS)
    assert len(again) == 6


def test_labels_in_other_units_are_refused(store):
    manifest = store.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"eV"', '"hartree"'))
    with pytest.raises(LabelMismatch, match="hartree"):
        LabelStore.open(store.path)


def test_a_missing_store_is_an_error_that_names_the_command_to_make_it(tmp_path):
    with pytest.raises(LabelMismatch, match=r"no labels in .*nowhere; .*jointkd\.label"):
        LabelStore.open(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"teacher": 5, "settings": {}}', "\xff\xfe"])
def test_a_damaged_manifest_is_an_error_that_names_it(store, content):
    (store.path / "manifest.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CorruptShard, match=r"manifest\.json is damaged"):
        LabelStore.open(store.path)


@pytest.mark.parametrize("left", [0, 5, 100, -1])
def test_a_truncated_shard_is_an_error_when_the_store_is_opened(store, left):
    shard = the_shard(store)
    shard.write_bytes(shard.read_bytes()[:left])
    with pytest.raises(CorruptShard, match=shard.name) as caught:
        LabelStore.open(store.path)
    assert "label.verify=true" in caught.value.remedy


def test_a_foreign_file_is_an_error_when_the_store_is_opened(store):
    shard = store.path / "shards" / "foreign.safetensors"
    shard.write_bytes(save({"weight": np.zeros(3)}))
    with pytest.raises(CorruptShard, match="foreign"):
        LabelStore.open(store.path)


@pytest.mark.parametrize("place", [0.01, 0.5, 0.999])
def test_verification_detects_one_flipped_bit_and_names_the_shard(store, place):
    store.verify()
    shard = the_shard(store)
    content = bytearray(shard.read_bytes())
    content[int(place * len(content))] ^= 1
    shard.write_bytes(content)
    with pytest.raises(CorruptShard, match=shard.name):
        LabelStore.open(store.path).verify()


def test_without_a_damaged_shard_the_rest_of_the_store_is_usable(store):
    kept = the_shard(store)
    other = store.append(labels_of(frames_of(2, seed=1)))
    other.write_bytes(b"")
    other.unlink()
    again = LabelStore.open(kept.parent.parent)
    again.verify()
    assert len(again) == 6


def fill_the_disk(path: Path, outcome) -> None:
    """Append to a store while files may not grow beyond 20 kB, as on a full disk, and send the outcome."""
    store = LabelStore.create(path, IDENTITY, SETTINGS)
    store.append(labels_of(FRAMES[:1]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        store.append(labels_of(frames_of(50, seed=2)))
    except StorageError as error:
        outcome.send(str(error))
    else:
        outcome.send("it was written")


def test_a_full_disk_is_a_storage_error_that_leaves_the_store_as_it_was(tmp_path):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=fill_the_disk, args=(tmp_path, sender))
    process.start()
    process.join()
    assert process.exitcode == 0
    message = receiver.recv()
    assert message.startswith("StorageError")
    assert str(tmp_path) in message
    assert "label.path=" in message
    assert [path.suffix for path in (tmp_path / "shards").iterdir()] == [".safetensors"]
    store = LabelStore.open(tmp_path)
    store.verify()
    assert store.keys() == {FRAMES[0].key}
    store.append(labels_of(FRAMES[1:]))
    assert len(store) == 6


def test_a_path_that_cannot_be_a_directory_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        LabelStore.create(tmp_path / "file" / "labels", IDENTITY, SETTINGS)


def test_an_error_inside_a_claim_is_not_reported_as_one_of_the_disk(store):
    with pytest.raises(FileNotFoundError), store.claim("chunk"):
        Path("/nowhere/weights").read_bytes()


def test_a_chunk_can_be_claimed_by_one_at_a_time(store):
    other = LabelStore.open(store.path)
    with store.claim("chunk") as mine:
        assert mine
        with other.claim("chunk") as also_mine:
            assert not also_mine
        with other.claim("another chunk") as free:
            assert free
    with other.claim("chunk") as mine:
        assert mine


def test_a_store_can_be_sent_to_another_process(store):
    store.read(FRAMES[0].key)
    copy = pickle.loads(pickle.dumps(store))
    assert copy.content_hash() == store.content_hash()


def test_refreshing_a_store_reads_the_shards_of_others(store):
    reader = LabelStore.open(store.path)
    more = frames_of(2, seed=1)
    store.append(labels_of(more))
    assert more[0].key not in reader
    reader.refresh()
    assert more[0].key in reader


def test_the_content_hash_depends_on_the_labels_but_not_on_shards_or_order(tmp_path):
    labels = labels_of(FRAMES)
    one = LabelStore.create(tmp_path / "one", IDENTITY, SETTINGS)
    one.append(labels)
    many = LabelStore.create(tmp_path / "many", IDENTITY, SETTINGS)
    for key in reversed(labels):
        many.append({key: labels[key]})
    assert many.content_hash() == one.content_hash()
    key = FRAMES[0].key
    changed = LabelStore.create(tmp_path / "changed", IDENTITY, SETTINGS)
    changed.append({**labels, key: replace(labels[key], energy=labels[key].energy + 1e-9)})
    assert changed.content_hash() != one.content_hash()


def test_partial_files_of_killed_processes_are_never_read_and_removed_when_old(store):
    young, old = (store.path / "shards" / f".{name}.safetensors.1.tmp" for name in ("young", "old"))
    for file in (young, old):
        file.write_bytes(b"half a sha")
    os.utime(old, (0, time.time() - ABANDONED - 1))
    again = LabelStore.create(store.path, IDENTITY, SETTINGS)
    again.verify()
    assert len(again) == 6
    assert young.exists()
    assert not old.exists()


def test_a_structure_that_failed_and_was_labelled_later_is_labelled(store):
    (frame,) = frames_of(1, seed=9)
    store.append({}, {frame.key: "there is not enough memory for it"})
    store.forget("there is not enough memory for it")
    assert not store.is_done(frame.key)
    assert store.failed == {"bad": "because"}
    store.append(labels_of([frame]))
    for each in (store, LabelStore.open(store.path)):
        assert frame.key in each
        assert each.failed == {"bad": "because"}
