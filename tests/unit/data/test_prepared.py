"""A prepared set contains the structures that passed screening, is complete or absent, and follows its source."""

import multiprocessing
import os
import pickle
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.io import read

from jointkd.data import prepared, stored_neighbors
from jointkd.data.prepared import PreparedSet, prepare
from jointkd.data.stored_neighbors import StoredNeighbors, neighbors_of
from jointkd.errors import DataError, StorageError
from jointkd.files import arrays, atomic
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import neighbors
from tests.files import FREE, frames, springs
from tests.structures import rattled

FORK = multiprocessing.get_context("fork")


def crystal(seed: int, **more) -> Frame:
    atoms = rattled(bulk("NaCl", "rocksalt", a=5.6), seed)
    return Frame(atoms.numbers.astype(int), atoms.positions, atoms.cell.array, atoms.pbc, **more)


def everything() -> list[Frame]:
    """Molecules and crystals, with and without labels, groups and splits."""
    full = Frame(np.array([1, 8]), np.array([[0, 0, 0], [0, 0, 1.0]]), energy=-1.5, forces=np.ones((2, 3)))
    return [
        *frames(4),
        full,
        crystal(
            1, energy=2.0, group="mp-1", split="test", source="ein Kristall, größer", info={"bandgap": 1.5, "s": [1]}
        ),
        crystal(2, info={"number": np.float64(2.5), "array": np.arange(2)}),
    ]


def prepared_set(folder: Path, some: list[Frame], name: str = "some", origin: dict | None = None) -> PreparedSet:
    return prepare(folder, name, lambda: (iter(some), FREE), None, 50.0, {"files": {}} if origin is None else origin)


def refuse() -> tuple[list[Frame], dict[int, float]]:
    raise AssertionError("the source of a prepared set is read again")


def test_frames_are_read_back_unchanged(tmp_path):
    some = everything()
    data_set = prepared_set(tmp_path, some)
    assert len(data_set) == len(data_set.frames) == len(some)
    for frame, back in zip(some, data_set.frames, strict=True):
        assert vars(back)["key"] == frame.key  # stored, not computed
        for name in ("numbers", "positions", "cell", "pbc"):
            before, after = getattr(frame, name), getattr(back, name)
            assert before.dtype == after.dtype
            np.testing.assert_array_equal(after, before)
        assert (back.energy, back.group, back.split, back.source) == (
            frame.energy,
            frame.group,
            frame.split,
            frame.source,
        )
        assert (back.forces is None) == (frame.forces is None)
        if frame.forces is not None:
            np.testing.assert_array_equal(back.forces, frame.forces)
    assert data_set.frames[5].info == {"bandgap": 1.5, "s": [1]}
    assert data_set.frames[6].info == {"number": 2.5, "array": [0, 1]}
    assert data_set.free_atom_energies == FREE
    assert data_set.manifest["elements"] == [1, 6, 8, 11, 17]


def test_frames_can_be_sliced_and_selected(tmp_path):
    data_set = prepared_set(tmp_path, frames(9)).frames
    keys = [frame.key for frame in data_set]
    assert [frame.key for frame in data_set[::-2]] == keys[::-2]
    assert [frame.key for frame in data_set[2:7].at([4, 0])] == [keys[6], keys[2]]
    assert data_set[-1].key == keys[-1]


def test_changes_of_an_array_do_not_reach_the_file(tmp_path):
    data_set = prepared_set(tmp_path, frames(3))
    before = data_set.frames[0].positions.copy()
    tensor = torch.from_numpy(data_set.frames[0].positions)  # writable, or torch warns
    tensor.add_(1)
    np.testing.assert_array_equal(PreparedSet(data_set.path).frames[0].positions, before)


def test_a_set_is_pickled_as_its_path(tmp_path):
    data_set = prepared_set(tmp_path, frames(5))
    content = pickle.dumps((data_set.frames[1:3], neighbors_of(data_set, 4.0)))
    assert len(content) < 1500
    some, stored = pickle.loads(content)
    assert [frame.key for frame in some] == [frame.key for frame in data_set.frames[1:3]]
    assert stored(some[0]).edge_index.numel()


def test_an_existing_set_is_not_made_again(tmp_path):
    data_set = prepared_set(tmp_path, frames(5))
    assert prepare(tmp_path, "some", refuse, None, 50.0, {"files": {}}).path == data_set.path
    assert prepare(data_set.path, "other", refuse, None, 50.0, {"files": {}}).path == data_set.path


def test_quarantined_structures_are_counted_and_written_with_their_reasons(tmp_path):
    bad = Frame(np.array([1, 1]), np.zeros((2, 3)), source="the bad one")
    data_set = prepared_set(tmp_path, [*frames(5), bad, *frames(1)])
    assert len(data_set) == 5
    assert data_set.manifest["set_aside"] == {
        "two atoms are closer than 0.3 Å": 1,
        "the same structure occurs twice": 1,
    }
    assert "the bad one" in (data_set.path / "quarantine.xyz").read_text()


def test_a_subset_is_prepared_from_the_selected_structures_and_an_empty_one_is_refused(tmp_path):
    def water(some):
        return (frame for frame in some if len(frame) == 3)

    read = partial(lambda: (iter(frames(9)), {}))
    assert len(prepare(tmp_path, "water", read, water, 50.0, {"files": {}})) == 3
    with pytest.raises(DataError, match=r"no structure of data=none is left; check data.subset"):
        prepare(tmp_path, "none", read, lambda some: iter([]), 50.0, {"files": {}})
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [
        prepare(tmp_path, "water", refuse, None, 50.0, {"files": {}}).path.name
    ]


@pytest.mark.parametrize("name", ["positions.npy", "keys.npy", "text.npy", "manifest.json"])
@pytest.mark.parametrize("how", ["truncated", "missing", "other"])
def test_a_damaged_file_is_named_with_a_remedy(tmp_path, name, how):
    data_set = prepared_set(tmp_path, frames(5))
    file = data_set.path / name
    content = file.read_bytes()
    if how == "missing" and name != "manifest.json":
        file.unlink()
    elif how == "truncated":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.write_bytes(b"\x93NUMPY nonsense")
    with pytest.raises(DataError, match=rf"{name} is damaged .*; move the folder {data_set.path} away;"):
        PreparedSet(data_set.path)


def test_a_set_of_another_version_is_not_misread(tmp_path, monkeypatch):
    data_set = prepared_set(tmp_path, frames(5))
    monkeypatch.setattr(prepared, "FORMAT", 2)
    with pytest.raises(DataError, match=r"is of format 1, and this version reads 2; move that folder away"):
        PreparedSet(data_set.path)


def dies_half_way(folder: Path) -> None:
    def some():
        yield from frames(1100)  # screening reads the first thousand before it begins
        os.kill(os.getpid(), signal.SIGKILL)

    prepared_set(folder, some())


def test_the_files_of_a_killed_process_are_never_used_and_are_removed_later(tmp_path):
    process = FORK.Process(target=dies_half_way, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (abandoned,) = tmp_path.glob(".*.tmp")
    assert (abandoned / "positions.npy").stat().st_size > 0
    assert len(prepared_set(tmp_path, frames(6))) == 6
    assert abandoned.exists()  # it may belong to another machine that is still writing
    old = time.time() - 2 * atomic.ABANDONED
    for path in (*abandoned.iterdir(), abandoned):
        os.utime(path, (old, old))
    prepared_set(tmp_path, frames(5), origin={"files": {}, "other": 1})
    assert abandoned.exists()  # preparing another set does not remove it
    (data_set,) = (path for path in tmp_path.glob("some-*") if len(PreparedSet(path)) == 6)
    (data_set / "manifest.json").unlink()
    for path in sorted(data_set.iterdir()):
        path.unlink()
    data_set.rmdir()
    prepared_set(tmp_path, frames(6))
    assert not abandoned.exists()


def test_a_folder_without_its_manifest_is_named_with_a_remedy(tmp_path):
    data_set = prepared_set(tmp_path, frames(5))
    (data_set.path / "manifest.json").unlink()
    with pytest.raises(
        DataError, match=rf"manifest.json is damaged \(it is missing\); move the folder {data_set.path}"
    ):
        prepared_set(tmp_path, frames(5))


def test_a_set_that_a_machine_without_the_lock_has_made_meanwhile_is_used(tmp_path):
    def read():
        prepared_set(tmp_path / "elsewhere", frames(5)).path.rename(expected)
        return frames(5), {}

    expected = prepared_set(tmp_path / "first", frames(5)).path
    expected = tmp_path / expected.name
    assert prepare(tmp_path, "some", read, None, 50.0, {"files": {}}).path == expected
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_full_disk_is_reported_and_no_files_remain(tmp_path, monkeypatch):
    def full(self, name, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrays.Writer, "append", full)
    with pytest.raises(StorageError, match=r"No space left on device.*name another disk with data.prepared="):
        prepared_set(tmp_path, frames(5))
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_an_invalid_folder_is_not_reported_as_a_full_disk(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"Not a directory\); name a folder to write into with data.prepared="):
        prepared_set(tmp_path / "file" / "sets", frames(5))


def test_a_reader_without_permission_is_not_reported_as_a_full_disk(tmp_path):
    def read():
        raise PermissionError(13, "Permission denied", "mine.xyz")

    with pytest.raises(PermissionError, match=r"mine.xyz"):
        prepare(tmp_path, "some", read, None, 50.0, {"files": {}})


def prepare_and_count(folder: Path) -> None:
    def read():
        (folder / f"read by {os.getpid()}").touch()
        time.sleep(0.2)
        return frames(3), {}

    assert len(prepare(folder, "some", read, None, 50.0, {"files": {}})) == 3


def test_one_of_many_processes_prepares_and_the_others_wait(tmp_path):
    processes = [FORK.Process(target=prepare_and_count, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len(list(tmp_path.glob("read by *"))) == 1


@pytest.mark.parametrize("most", [None, 3])
def test_stored_neighbours_equal_those_of_a_new_search(tmp_path, most):
    some = [*frames(4), crystal(1), crystal(2), Frame(np.array([1]), np.zeros((1, 3)))]
    data_set = prepared_set(tmp_path, some)
    for cutoff in (3.0, 7.0):
        stored = neighbors_of(data_set, cutoff, most)
        assert isinstance(stored, StoredNeighbors)
        for frame, back in zip(some, data_set.frames, strict=True):
            new = neighbors(frame.positions, frame.cell, frame.pbc, cutoff, most)
            for a, b in zip(stored(back), new, strict=True):
                assert a.dtype == b.dtype
                torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_neighbours_are_searched_once_for_each_cutoff(tmp_path, monkeypatch):
    data_set = prepared_set(tmp_path, frames(4))
    neighbors_of(data_set, 3.0)
    monkeypatch.setattr(stored_neighbors, "find_pairs", lambda *arguments: pytest.fail("searched again"))
    neighbors_of(data_set, 3.0)
    for cutoff in (3.1, 3.0000001):
        with pytest.raises(pytest.fail.Exception):
            neighbors_of(data_set, cutoff)
    with pytest.raises(pytest.fail.Exception):
        neighbors_of(data_set, 3.0, 5)


def test_neighbours_that_would_fill_the_disk_are_computed_on_access_with_a_warning(tmp_path, monkeypatch, caplog):
    data_set = prepared_set(tmp_path, frames(4))
    monkeypatch.setattr(stored_neighbors.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with caplog.at_level("WARNING"):
        search = neighbors_of(data_set, 3.0)
    assert "so they are computed anew in every epoch; set data.workers" in caplog.text
    assert not list(data_set.path.glob("neighbors-*"))
    frame = data_set.frames[0]
    for a, b in zip(search(frame), neighbors(frame.positions, frame.cell, frame.pbc, 3.0), strict=True):
        assert (a == b).all()


def test_the_size_of_the_neighbours_is_estimated_within_10_percent(tmp_path):
    data_set = prepared_set(tmp_path, [crystal(number) for number in range(60)])
    estimate = stored_neighbors.estimated_bytes(data_set, 7.0, None)
    stored = neighbors_of(data_set, 7.0)
    size = sum((stored.path / f"{name}.npy").stat().st_size for name in ("atoms", "images"))
    assert estimate == pytest.approx(size, rel=0.1)


def test_damaged_neighbours_are_named_with_a_remedy(tmp_path):
    data_set = prepared_set(tmp_path, frames(4))
    path = neighbors_of(data_set, 3.0).path
    (path / "atoms.npy").write_bytes(b"")
    with pytest.raises(DataError, match=rf"atoms.npy is damaged .*; move the folder {path} away;"):
        neighbors_of(data_set, 3.0)


def test_an_absurd_energy_is_set_aside_counted_and_kept_visible(tmp_path):
    some = frames(60)
    some[17] = replace(some[17], energy=1e6)
    data_set = prepared_set(tmp_path, some)
    assert [frame.key for frame in data_set.frames] == [frame.key for frame in some if frame is not some[17]]
    assert data_set.manifest["set_aside"] == {prepared.ABSURD_ENERGY: 1}
    assert data_set.manifest["structures"] == len(data_set) == 59
    (written,) = read(data_set.path / prepared.QUARANTINE, index=":")
    assert (written.info["source"], written.info["rejected_energy"]) == ("frame 17", 1e6)
    assert not (data_set.path / prepared.UNCHECKED).exists()
    np.testing.assert_array_equal(data_set.frames[20].forces, some[21].forces)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"energy": -2000.0}, "another energy"), ({"info": {"total_charge": -1}}, "another charge")],
)
def test_structures_that_contradict_each_other_are_all_set_aside(tmp_path, change, reason):
    some = frames(12)
    data_set = prepared_set(tmp_path, [*some, replace(some[3], **change, source="the other")])
    assert some[3].key not in data_set.keys
    assert data_set.manifest["set_aside"] == {f"the same structure occurs with {reason}": 2}


def test_a_repeat_with_the_same_labels_up_to_noise_is_kept_once(tmp_path):
    some = frames(12)
    again = replace(some[3], energy=some[3].energy + 1e-4, info={"charge": 0})
    data_set = prepared_set(tmp_path, [*some, again])
    assert data_set.keys == [frame.key for frame in some]
    assert data_set.manifest["set_aside"] == {"the same structure occurs twice": 1}


def test_a_set_whose_forces_are_gradients_is_not_made(tmp_path):
    wrong = [replace(frame, forces=-frame.forces) for frame in springs()]
    with pytest.raises(DataError, match=r"as for gradients given as forces"):
        prepared_set(tmp_path, wrong)
    assert not list(tmp_path.glob("some-*"))


def test_one_bad_structure_does_not_end_the_preparation(tmp_path):
    good = crystal(3)
    bad = [
        replace(good, cell=cell, source=name)
        for name, cell in {
            "not finite": np.full((3, 3), np.nan),
            "huge": np.eye(3) * 1e200,
            "singular": np.ones((3, 3)),
            "tiny": np.eye(3) * 1e-3,
            "sliver": np.array([[10.0, 0, 0], [10.0, 1e-5, 0], [0, 0, 10]]),
            "none": np.zeros((3, 3)),
        }.items()
    ]
    data_set = prepared_set(tmp_path, [*(crystal(seed) for seed in range(10, 20)), *bad])
    assert len(data_set) == 10
    assert [atoms.info["source"] for atoms in read(data_set.path / prepared.QUARANTINE, index=":")] == [
        frame.source for frame in bad
    ]


def test_a_set_whose_energies_are_in_another_unit_is_not_made(tmp_path):
    wrong = [replace(frame, energy=frame.energy / 27.2114, forces=frame.forces / 27.2114) for frame in frames(30)]
    with pytest.raises(DataError, match=r"free atoms in hartree that are read as eV; set data.units.energy"):
        prepared_set(tmp_path, wrong)
    assert not list(tmp_path.glob("some-*"))


def test_stresses_are_stored_where_structures_have_them(tmp_path):
    some = [
        crystal(seed, energy=2.0, forces=np.zeros((2, 3)), stress=np.full((3, 3), 0.1 * seed)) for seed in range(1, 12)
    ]
    absurd = replace(crystal(20), energy=9000.0, forces=np.zeros((2, 3)), stress=np.zeros((3, 3)))
    data_set = prepared_set(tmp_path, [absurd, *some])  # so that the others are written again
    for frame, found in zip(some, data_set.frames, strict=True):
        np.testing.assert_array_equal(found.stress, frame.stress)
    without = prepared_set(tmp_path, everything(), name="without")
    assert without[0].stress is None
    assert not (without.path / "stresses.npy").exists()
