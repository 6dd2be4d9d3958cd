"""Batches are the same in every process and resumable after any of them; energies are relative to references."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from jointkd.data.datamodule import DistillationData
from jointkd.data.dataset import EpochBatches, ResumableLoader, StructureDataset, shuffled
from jointkd.data.options import ReaderData
from jointkd.data.splits import Split
from jointkd.data.stored_neighbors import neighbors_of
from jointkd.errors import ConfigError, LabelMismatch
from jointkd.labels.records import Spread, TeacherIdentity, TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.batch import Structure, collate
from jointkd.structures.frame import Frame
from tests.files import FREE, frames

IDENTITY = TeacherIdentity("numbers", "0" * 64, "float64", (1, 6, 8), FREE)
ROWS = 6


def store_of(path, some, rows: int = ROWS, failed: tuple[str, ...] = ()) -> LabelStore:
    """Labels that identify themselves: all entries of a Hessian row are 1000 * atoms + its row id."""
    store = LabelStore.create(path, IDENTITY, {"rows": rows})
    labels = {}
    for frame in some:
        count = len(frame)
        ids = np.sort(np.random.default_rng(count).choice(3 * count, rows, replace=False))
        hessian = np.ones((rows, count, 3)) * (1000.0 * count + ids)[:, None, None]
        atomic = np.arange(count, dtype=float)
        labels[frame.key] = TeacherLabels(frame.energy, atomic, frame.forces, hessian, ids)
    store.append({key: label for key, label in labels.items() if key not in failed}, dict.fromkeys(failed, "broken"))
    return store


@pytest.fixture
def some():
    return frames(30)


@pytest.fixture
def data(tmp_path, some) -> DistillationData:
    """A data module with labels joined: 24 structures for training, 3 for validation and 3 for the test."""
    module = DistillationData(ReaderData(name="some", read=lambda: (some, FREE), split=Split(), batch_size=5, seed=3))
    module.prepare_neighbors(4.0, torch.float64)
    module.fit_references()
    module.join(store_of(tmp_path / "labels", some), train_rows=2, eval_rows=ROWS)
    return module


def unlabelled(some: list[Frame], dtype: torch.dtype = torch.float32, **options) -> DistillationData:
    """A data module without labels."""
    module = DistillationData(ReaderData(**{"name": "some", "read": lambda: (some, FREE), "split": Split(), **options}))
    module.prepare_neighbors(4.0, dtype)
    module.fit_references()
    return module


def keys_of(batch: Structure, some: list[Frame]) -> tuple[str, ...]:
    """The keys of the frames in a batch, recognised by their positions."""
    keys = {frame.positions.tobytes(): frame.key for frame in some}
    return tuple(keys[part.numpy().tobytes()] for part in batch.positions.split(batch.atoms_per_structure.tolist()))


def rows_of(dataset: StructureDataset, epoch: int) -> dict[str, list[int]]:
    """The Hessian rows of each structure in an epoch."""
    items = [dataset[epoch, index] for index in range(len(dataset))]
    return {frame.key: item.row_ids[0].tolist() for frame, item in zip(dataset.frames, items, strict=True)}


def test_the_rows_of_a_structure_depend_on_seed_epoch_and_structure_alone(data):
    def dataset(frames, seed):
        neighbors = neighbors_of(data.source, 4.0)
        return StructureDataset(frames, neighbors, data.references, data.teacher["train"], seed)

    train = data.frames["train"]
    rows = rows_of(dataset(train, 0), epoch=0)
    assert rows_of(dataset(train[::-1], 0), epoch=0) == rows
    assert rows_of(dataset(train, 0), epoch=1) != rows
    assert rows_of(dataset(train, 1), epoch=0) != rows
    seen = {key: set() for key in rows}
    for epoch in range(40):
        for key, ids in rows_of(dataset(train, 0), epoch).items():
            assert len(set(ids)) == 2
            seen[key] |= set(ids)
    assert all(len(ids) == ROWS for ids in seen.values())


def test_each_row_of_a_structure_is_used_once_before_any_is_used_twice(data):
    epochs = [rows_of(data.train_dataloader().dataset, epoch) for epoch in range(3)]  # two of six rows per epoch
    for frame in data.frames["train"]:
        assert len({row for rows in epochs for row in rows[frame.key]}) == ROWS


def test_fixed_rows_stay_the_same_in_every_epoch(data, tmp_path):
    data.join(data.teacher["train"].store, train_rows=2, eval_rows=1, sampling="fixed")
    dataset = data.train_dataloader().dataset
    assert rows_of(dataset, 0) == rows_of(dataset, 1) == rows_of(dataset, 7)


def test_an_unknown_way_to_sample_rows_is_refused(data):
    with pytest.raises(ConfigError, match=r"method.rows='new' is not known; choose one of fresh, fixed, mixed"):
        data.join(data.teacher["train"].store, 1, 1, "new")


def test_hessian_rows_come_with_the_ids_under_which_they_were_stored(data):
    for batch in (data.train_dataloader(), data.test_dataloader()):
        for structures in batch:
            expected = (1000 * structures.ptr.diff()[:, None] + structures.row_ids)[structures.batch]
            torch.testing.assert_close(structures.hessian_rows, expected[:, :, None].double().expand(-1, -1, 3))


def test_the_test_split_has_the_same_rows_in_every_epoch_and_none_twice(data):
    loader = data.test_dataloader()
    first = [batch.row_ids for batch in loader]
    loader.batches.set_epoch(7)
    for before, after in zip(first, loader, strict=True):
        torch.testing.assert_close(before, after.row_ids)
        assert (before.sort().values.diff() > 0).all()


def test_energies_are_made_relative_to_references_before_they_are_rounded(some):
    data = unlabelled(some)
    (batch,) = data.val_dataloader()
    assert batch.energy.dtype == batch.positions.dtype == torch.float32
    for frame, energy in zip(data.frames["val"], batch.energy.tolist(), strict=True):
        relative = frame.energy - sum(FREE[int(z)] for z in frame.numbers)
        assert energy == pytest.approx(relative, abs=1e-5)  # float32 of a total would be off by 1e-4 eV


def test_targets_of_atomic_energies_are_aligned_with_the_references(data):
    teacher = data.teacher["test"]
    (batch,) = data.test_dataloader()
    targets = [teacher.alignment.targets(f, teacher.store.read(f.key, rows=False)) for f in data.frames["test"]]
    np.testing.assert_allclose(batch.teacher_atomic_energies, np.concatenate(targets))
    assert next(iter(data.val_dataloader())).teacher_atomic_energies is None


def test_each_epoch_has_every_structure_once_in_another_order(data):
    loader = data.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.batches.set_epoch(epoch)
        epochs.append([keys_of(batch, data.frames["train"]) for batch in loader])
    every = sorted(frame.key for frame in data.frames["train"])
    assert [len(batch) for batch in epochs[0]] == [5, 5, 5, 5, 4]
    assert sorted(key for batch in epochs[0] for key in batch) == every
    assert sorted(key for batch in epochs[1] for key in batch) == every
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(("length", "size", "ranks"), [(24, 8, 2), (23, 8, 2), (30, 7, 3), (9, 4, 4)])
def test_the_batches_of_all_ranks_together_are_those_of_one_rank(length, size, ranks):
    single = EpochBatches(length, size, 0, shuffle=True)
    shares = [EpochBatches(length, size, 0, True, rank, ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    for batches in (single, *shares):
        batches.set_epoch(4)
    for whole, *parts in zip(single, *shares, strict=False):
        assert sorted(item for part in parts for item in part) == sorted(whole)
        assert all(parts)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("length", "size", "ranks"), [(24, 8, 2), (17, 8, 2), (9, 8, 4), (4, 8, 4), (16, 8, 8)])
def test_evaluation_covers_every_structure_for_any_number_of_ranks(length, size, ranks):
    shares = [EpochBatches(length, size, 0, False, rank, ranks) for rank in range(ranks)]
    seen = []
    for share in shares:
        batches = list(share)
        assert len(batches) == len(share)
        assert all(batches)
        seen += [index for batch in batches for _, index in batch]
    assert sorted(seen) == list(range(length))


@pytest.mark.parametrize(
    ("length", "size", "ranks", "parts"), [(24, 8, 2, 3), (18, 5, 1, 3), (23, 8, 2, 4), (9, 4, 4, 1)]
)
def test_the_micro_batches_of_a_batch_add_up_to_it_and_know_its_size(length, size, ranks, parts):
    whole = list(EpochBatches(length, size, 0, True, 0, ranks))
    divided = EpochBatches(length, size, 0, True, 0, ranks, parts)
    steps, index = [[]], -1
    for index, micro_batch in enumerate(divided):
        assert micro_batch
        steps[-1] += micro_batch
        assert set(micro_batch) <= {(0, frame) for frame in divided.whole(index)}
        assert len(divided.whole(index)) in (size, length % size)
        if divided.ends_step(index):
            steps.append([])
    assert index + 1 == len(divided)
    assert [sorted(step) for step in steps[:-1]] == [sorted(step) for step in whole]
    assert steps[-1] == []
    ends = [index for index in range(len(divided)) if divided.ends_step(index)]
    assert ends[:-1] == [index for index in range(len(divided) - 1) if (index + 1) % parts == 0]  # as Lightning steps


@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (2, 2)])
def test_from_an_epoch_on_referenced_structures_alone_are_drawn_as_often_as_each_other(ranks, parts):
    referenced = np.array([1, 4, 7, 11, 20])
    shares = [EpochBatches(24, 8, 0, True, rank, ranks, parts, referenced) for rank in range(ranks)]
    for share in shares:
        share.only_referenced_from = 3
    for epoch, expected in ((2, set(range(24))), (3, set(referenced.tolist())), (7, set(referenced.tolist()))):
        for share in shares:
            share.set_epoch(epoch)
        seen = Counter(index for share in shares for batch in share for _, index in batch)
        assert set(seen) == expected
        assert seen.total() == 24
        assert max(seen.values()) - min(seen.values()) <= 1
        assert [len(list(share)) for share in shares] == [3 * parts] * ranks
    assert set(shares[0].whole(0)) <= expected


def test_the_order_of_an_epoch_is_shuffled_once_for_all_its_micro_batches(monkeypatch):
    batches = EpochBatches(24, 8, 0, True, parts=3)
    seeds = []
    monkeypatch.setattr(
        np.random, "default_rng", lambda seed: seeds.append(seed) or np.random.Generator(np.random.PCG64())
    )
    shuffled.cache_clear()
    for index, _ in enumerate(batches):
        batches.whole(index)
    assert seeds == [[0, 0]]
    shuffled.cache_clear()


def test_all_ranks_have_the_same_number_of_micro_batches():
    for length in range(8, 40):
        shares = [EpochBatches(length, 8, 0, True, rank, 2, 4) for rank in range(2)]
        assert len({len(share) for share in shares}) == 1
        assert all(micro_batch for share in shares for micro_batch in share)


class Ranks:
    """The attributes of a trainer that a data module uses."""

    global_rank, world_size, accumulate_grad_batches = 0, 4, 1


def test_more_processes_than_structures_in_a_batch_are_refused(data):
    data.trainer = Ranks()
    data.batch_size = 8
    data.train_dataloader()
    with pytest.raises(ConfigError, match=r"4 processes cannot share the 3 structures of the test split"):
        data.test_dataloader()
    data.batch_size = 3
    with pytest.raises(ConfigError, match=r"4 processes cannot share the 24 structures .* data.batch_size=3"):
        data.train_dataloader()


def test_more_micro_batches_than_structures_in_a_batch_are_refused(data):
    data.trainer = Ranks()
    data.trainer.accumulate_grad_batches = 3
    data.batch_size = 12
    data.train_dataloader()
    data.batch_size = 11
    with pytest.raises(
        ConfigError, match=r"4 processes, each with 3 micro-batches, .* or trainer.accumulate_grad_batches"
    ):
        data.train_dataloader()


def fingerprints(batches) -> list[tuple]:
    return [(batch.positions.numpy().tobytes(), tuple(batch.row_ids.flatten().tolist())) for batch in batches]


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_a_loader_continues_after_any_batch(data, stop):
    first = data.train_dataloader()
    first.batches.set_epoch(2)
    whole = fingerprints(first)
    iterator = iter(first)
    for _ in range(stop):
        next(iterator)
    state = first.state_dict()
    if stop == 5:  # the epoch is over, so the next one follows as a whole
        assert list(iterator) == []

    again = data.train_dataloader()
    again.load_state_dict(state)
    assert again.state_dict() == {"epoch": 2, "done": stop % 5}
    assert fingerprints(again) == whole[stop % 5 :]
    assert fingerprints(again) == whole  # the next epoch starts at its beginning


def test_workers_change_nothing_and_resume_after_the_batches_used_not_those_prefetched(data):
    whole = fingerprints(data.train_dataloader())
    data.workers = 2
    loader = data.train_dataloader()
    iterator = iter(loader)
    seen = fingerprints([next(iterator) for _ in range(2)])
    state = loader.state_dict()
    del iterator, loader
    again = data.train_dataloader()
    again.load_state_dict(state)
    assert state["done"] == 2
    assert seen + fingerprints(again) == whole


def test_changing_a_structure_does_not_change_the_data_set(data):
    dataset = data.train_dataloader().dataset
    before = dataset[0, 0]
    changed = dataset[0, 0]
    changed.positions.add_(1)
    torch.testing.assert_close(dataset[0, 0].positions, before.positions)


@pytest.mark.parametrize("options", [{"split": "amin2025"}, {"split": Split(), "subset": "Br"}])
def test_a_word_in_place_of_a_split_or_of_a_subset_is_refused(some, options):
    with pytest.raises(ConfigError, match=r"data\.(split=amin2025 is not known|subset=Br must be a rule)"):
        DistillationData(ReaderData(name="some", read=lambda: (some, FREE), **options))


def test_structures_without_labels_are_refused(tmp_path, some):
    data = unlabelled(some)
    with pytest.raises(LabelMismatch, match=r"\d+ of 24 structures of the train split of data=some have no labels"):
        data.join(store_of(tmp_path / "labels", some[:20]), 1, 1)


def test_fewer_stored_rows_than_training_needs_are_refused(tmp_path, some):
    data = unlabelled(some)
    with pytest.raises(
        LabelMismatch, match=r"training needs 3 Hessian rows or probes .* set label.rows or label.probes to at"
    ):
        data.join(store_of(tmp_path / "labels", some, rows=2), 3, 2)


def test_structures_that_the_teacher_could_not_label_are_left_out_and_counted(tmp_path, some, caplog):
    data = unlabelled(some)
    failed = tuple(frame.key for frame in data.frames["train"][:2])
    with caplog.at_level("WARNING"):
        data.join(store_of(tmp_path / "labels", some, failed=failed), 1, 1)
    assert len(data.frames["train"]) == 22
    assert "2 structures of train have no usable labels" in caplog.text


def test_a_split_that_the_teacher_could_not_label_at_all_is_refused(tmp_path, some):
    data = unlabelled(some)
    failed = tuple(frame.key for frame in data.frames["test"])
    with pytest.raises(LabelMismatch, match=r"could label no structure of the test split .*broken"):
        data.join(store_of(tmp_path / "labels", some, failed=failed), 1, 1)


def test_without_reference_calculations_energies_forces_and_free_atoms_are_the_teachers(tmp_path):
    some = frames(30)
    data = unlabelled([Frame(frame.numbers, frame.positions) for frame in some], reference="teacher")
    data.join(store_of(tmp_path / "labels", some), 1, 1)
    assert data.references.energies == FREE
    energies = {frame.key: frame.energy for frame in some}
    for part in data.frames.values():
        assert all(frame.energy == energies[frame.key] and frame.forces is not None for frame in part)


def test_a_loader_collates_in_single_precision_by_default(data):
    loader = ResumableLoader(data.train_dataloader().dataset, EpochBatches(24, 8, 0, True), collate, 0)
    assert next(iter(loader)).positions.dtype == torch.float32


def test_a_test_on_all_rows_has_each_stored_row_of_every_structure(tmp_path, some):
    data = unlabelled(some, torch.float64)
    store = LabelStore.create(tmp_path / "full", IDENTITY, {"rows": "all"})
    for frame in some:
        ids = np.arange(3 * len(frame))
        rows = np.ones((len(ids), len(frame), 3))
        store.append({frame.key: TeacherLabels(frame.energy, np.zeros(len(frame)), frame.forces, rows, ids)})
    data.join(store, train_rows=1, eval_rows="all")
    longest = max(3 * len(frame) for frame in data.frames["test"])
    for batch in data.test_dataloader():
        assert batch.row_ids.shape[1] == longest
        for ids, atoms in zip(batch.row_ids, batch.atoms_per_structure, strict=True):
            assert set(ids.tolist()) == set(range(3 * int(atoms)))


def test_the_spread_of_an_ensemble_reaches_the_batch(tmp_path, some):
    three = LabelStore.create(tmp_path / "three", replace(IDENTITY, members=3), {"rows": ROWS})
    one = store_of(tmp_path / "one", some)
    spreads = {frame.key: np.random.default_rng(number).random(len(frame)) for number, frame in enumerate(some)}
    labels = {key: one.read(key) for key in spreads}
    three.append({key: replace(labels[key], spread=Spread(0.1, spreads[key], labels[key].forces)) for key in spreads})
    data = unlabelled(some, torch.float64, batch_size=5)
    data.join(three, train_rows=2, eval_rows=2)
    batch = next(iter(data.train_dataloader()))
    expected = np.concatenate([spreads[key] for key in keys_of(batch, some)])
    np.testing.assert_array_equal(batch.teacher_energy_spread.numpy(), expected)
    assert next(iter(data.val_dataloader())).teacher_energy_spread is None
