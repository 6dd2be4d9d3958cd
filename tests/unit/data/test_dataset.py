"""Batches: the same in every process, resumable after any of them, and with energies relative to references."""

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
    """Labels that tell where they belong: row k of a structure is filled with 1000 * atoms + its row id."""
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
    """A data module with labels joined: 24 structures for training, 3 and 3 for validation and test."""
    made = DistillationData(ReaderData(name="some", read=lambda: (some, FREE), split=Split(), batch_size=5, seed=3))
    made.prepare_neighbors(4.0, torch.float64)
    made.fit_references()
    made.join(store_of(tmp_path / "labels", some), train_rows=2, eval_rows=ROWS)
    return made


def keys_of(batch: Structure, some: list[Frame]) -> tuple[str, ...]:
    """Which of the frames a batch holds, by their positions."""
    keys = {frame.positions.tobytes(): frame.key for frame in some}
    return tuple(keys[part.numpy().tobytes()] for part in batch.positions.split(batch.atoms_per_structure.tolist()))


def rows_of(dataset: StructureDataset, epoch: int) -> dict[str, list[int]]:
    items = [dataset[epoch, number] for number in range(len(dataset))]
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


def test_each_row_of_a_structure_is_seen_once_before_any_twice(data):
    epochs = [rows_of(data.train_dataloader().dataset, epoch) for epoch in range(3)]  # two of six rows a time
    for frame in data.frames["train"]:
        assert len({row for rows in epochs for row in rows[frame.key]}) == ROWS


def test_fixed_rows_stay_the_same_in_every_epoch(data, tmp_path):
    data.join(data.teacher["train"].store, train_rows=2, eval_rows=1, sampling="fixed")
    dataset = data.train_dataloader().dataset
    assert rows_of(dataset, 0) == rows_of(dataset, 1) == rows_of(dataset, 7)


def test_an_unknown_way_to_choose_rows_is_refused(data):
    with pytest.raises(ConfigError, match=r"method.rows='new' is not known; choose fresh or fixed"):
        data.join(data.teacher["train"].store, 1, 1, "new")


def test_hessian_rows_come_with_the_ids_they_were_stored_under(data):
    for batch in (data.train_dataloader(), data.test_dataloader()):
        for structures in batch:
            expected = (1000 * structures.ptr.diff()[:, None] + structures.row_ids)[structures.batch]
            torch.testing.assert_close(structures.hessian_rows, expected[:, :, None].double().expand(-1, -1, 3))


def test_every_row_of_the_test_split_is_used_in_the_same_order_in_every_epoch(data):
    loader = data.test_dataloader()
    first = [batch.row_ids for batch in loader]
    loader.batches.set_epoch(7)
    for before, after in zip(first, loader, strict=True):
        torch.testing.assert_close(before, after.row_ids)
        assert (before.sort().values.diff() > 0).all()


def test_energies_are_relative_to_references_before_they_are_rounded(tmp_path, some):
    made = DistillationData(ReaderData(name="some", read=lambda: (some, FREE), split=Split()))
    made.prepare_neighbors(4.0, torch.float32)
    made.fit_references()
    (batch,) = made.val_dataloader()
    assert batch.energy.dtype == batch.positions.dtype == torch.float32
    for frame, energy in zip(made.frames["val"], batch.energy.tolist(), strict=True):
        relative = frame.energy - sum(FREE[int(z)] for z in frame.numbers)
        assert energy == pytest.approx(relative, abs=1e-5)  # float32 of a total would be off by 1e-4 eV


def test_targets_of_atoms_are_aligned_to_the_references(data):
    teacher = data.teacher["test"]
    (batch,) = data.test_dataloader()
    targets = [teacher.alignment.targets(f, teacher.store.read(f.key, rows=False)) for f in data.frames["test"]]
    np.testing.assert_allclose(batch.teacher_atomic_energies, np.concatenate(targets))
    assert next(iter(data.val_dataloader())).teacher_atomic_energies is None


def test_each_epoch_sees_every_structure_once_in_another_order(data):
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
def test_the_batches_of_all_ranks_together_are_those_of_one(length, size, ranks):
    alone = EpochBatches(length, size, 0, shuffle=True)
    shares = [EpochBatches(length, size, 0, True, rank, ranks) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    for batches in (alone, *shares):
        batches.set_epoch(4)
    for whole, *parts in zip(alone, *shares, strict=False):
        assert sorted(item for part in parts for item in part) == sorted(whole)
        assert all(parts)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("length", "size", "ranks"), [(24, 8, 2), (17, 8, 2), (9, 8, 4), (4, 8, 4), (16, 8, 8)])
def test_evaluation_leaves_nothing_out_whatever_the_number_of_ranks(length, size, ranks):
    shares = [EpochBatches(length, size, 0, False, rank, ranks) for rank in range(ranks)]
    seen = []
    for share in shares:
        batches = list(share)
        assert len(batches) == len(share)
        assert all(batches)
        seen += [number for batch in batches for _, number in batch]
    assert sorted(seen) == list(range(length))


@pytest.mark.parametrize(
    ("length", "size", "ranks", "parts"), [(24, 8, 2, 3), (18, 5, 1, 3), (23, 8, 2, 4), (9, 4, 4, 1)]
)
def test_the_portions_of_a_batch_are_the_batch_and_know_what_it_has(length, size, ranks, parts):
    whole = list(EpochBatches(length, size, 0, True, 0, ranks))
    portioned = EpochBatches(length, size, 0, True, 0, ranks, parts)
    steps, place = [[]], -1
    for place, portion in enumerate(portioned):
        assert portion
        steps[-1] += portion
        assert set(portion) <= {(0, number) for number in portioned.whole(place)}
        assert len(portioned.whole(place)) in (size, length % size)
        if portioned.ends_step(place):
            steps.append([])
    assert place + 1 == len(portioned)
    assert [sorted(step) for step in steps[:-1]] == [sorted(step) for step in whole]
    assert steps[-1] == []
    ends = [place for place in range(len(portioned)) if portioned.ends_step(place)]
    assert ends[:-1] == [place for place in range(len(portioned) - 1) if (place + 1) % parts == 0]  # as Lightning steps


def test_the_order_of_an_epoch_is_drawn_once_however_many_portions_ask_for_it(monkeypatch):
    batches = EpochBatches(24, 8, 0, True, parts=3)
    drawn = []
    monkeypatch.setattr(
        np.random, "default_rng", lambda seed: drawn.append(seed) or np.random.Generator(np.random.PCG64())
    )
    shuffled.cache_clear()
    for place, _ in enumerate(batches):
        batches.whole(place)
    assert drawn == [[0, 0]]
    shuffled.cache_clear()


def test_ranks_take_as_many_portions_as_each_other():
    for length in range(8, 40):
        shares = [EpochBatches(length, 8, 0, True, rank, 2, 4) for rank in range(2)]
        assert len({len(share) for share in shares}) == 1
        assert all(portion for share in shares for portion in share)


class Ranks:
    """As much of a trainer as a data module asks."""

    global_rank, world_size, accumulate_grad_batches = 0, 4, 1


def test_more_processes_than_structures_to_share_are_refused(data):
    data.trainer = Ranks()
    data.batch_size = 8
    data.train_dataloader()
    with pytest.raises(ConfigError, match=r"4 processes cannot share the 3 structures of the test split"):
        data.test_dataloader()
    data.batch_size = 3
    with pytest.raises(ConfigError, match=r"4 processes cannot share the 24 structures .* data.batch_size=3"):
        data.train_dataloader()


def test_more_parts_than_structures_of_a_batch_are_refused(data):
    data.trainer = Ranks()
    data.trainer.accumulate_grad_batches = 3
    data.batch_size = 12
    data.train_dataloader()
    data.batch_size = 11
    with pytest.raises(ConfigError, match=r"4 processes, each in 3 parts, .* lower .* trainer.accumulate_grad_batches"):
        data.train_dataloader()


def fingerprints(batches) -> list[tuple]:
    return [(batch.positions.numpy().tobytes(), tuple(batch.row_ids.flatten().tolist())) for batch in batches]


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_a_loader_goes_on_after_any_batch(data, stop):
    first = data.train_dataloader()
    first.batches.set_epoch(2)
    whole = fingerprints(first)
    iterator = iter(first)
    for _ in range(stop):
        next(iterator)
    state = first.state_dict()
    if stop == 5:  # the epoch is over: what follows is a whole one
        assert list(iterator) == []

    again = data.train_dataloader()
    again.load_state_dict(state)
    assert again.state_dict() == {"epoch": 2, "done": stop % 5}
    assert fingerprints(again) == whole[stop % 5 :]
    assert fingerprints(again) == whole  # the next pass begins at the beginning


def test_workers_change_nothing_and_resume_after_what_was_used_not_what_was_fetched(data):
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


def test_a_structure_is_not_changed_by_who_uses_it(data):
    dataset = data.train_dataloader().dataset
    before = dataset[0, 0]
    changed = dataset[0, 0]
    changed.positions.add_(1)
    torch.testing.assert_close(dataset[0, 0].positions, before.positions)


@pytest.mark.parametrize("options", [{"split": "amin2025"}, {"split": Split(), "subset": "Br"}])
def test_a_word_in_place_of_a_split_or_of_rules_is_refused(some, options):
    with pytest.raises(ConfigError, match=r"data\.(split=amin2025|subset=Br) is no"):
        DistillationData(ReaderData(name="some", read=lambda: (some, FREE), **options))


def test_labels_of_other_structures_are_refused(tmp_path, some):
    made = DistillationData(ReaderData(name="some", read=lambda: (some, FREE), split=Split()))
    made.prepare_neighbors(4.0, torch.float32)
    made.fit_references()
    with pytest.raises(LabelMismatch, match=r"\d+ of 24 structures of the train split of data=some have no labels"):
        made.join(store_of(tmp_path / "labels", some[:20]), 1, 1)


def test_fewer_stored_rows_than_training_asks_for_are_refused(tmp_path, some):
    made = DistillationData(ReaderData(name="some", read=lambda: (some, FREE), split=Split()))
    made.prepare_neighbors(4.0, torch.float32)
    made.fit_references()
    with pytest.raises(LabelMismatch, match=r"training asks for 3 Hessian rows .* set label.rows"):
        made.join(store_of(tmp_path / "labels", some, rows=2), 3, 2)


def test_structures_that_the_teacher_could_not_label_are_left_out_and_counted(tmp_path, some, caplog):
    made = DistillationData(ReaderData(name="some", read=lambda: (some, FREE), split=Split()))
    made.prepare_neighbors(4.0, torch.float32)
    made.fit_references()
    failed = tuple(frame.key for frame in made.frames["train"][:2])
    with caplog.at_level("WARNING"):
        made.join(store_of(tmp_path / "labels", some, failed=failed), 1, 1)
    assert len(made.frames["train"]) == 22
    assert "2 structures of train have no usable labels" in caplog.text


def test_a_split_that_the_teacher_could_not_label_at_all_is_refused(tmp_path, some):
    made = DistillationData(ReaderData(name="some", read=lambda: (some, FREE), split=Split()))
    made.prepare_neighbors(4.0, torch.float32)
    made.fit_references()
    failed = tuple(frame.key for frame in made.frames["test"])
    with pytest.raises(LabelMismatch, match=r"could label no structure of the test split .*broken"):
        made.join(store_of(tmp_path / "labels", some, failed=failed), 1, 1)


def test_without_a_reference_calculation_energies_forces_and_zeros_are_the_teachers(tmp_path):
    some = frames(30)
    unlabelled = [type(frame)(frame.numbers, frame.positions) for frame in some]
    made = DistillationData(ReaderData(name="some", read=lambda: (unlabelled, {}), split=Split(), reference="teacher"))
    made.prepare_neighbors(4.0, torch.float64)
    made.fit_references()
    made.join(store_of(tmp_path / "labels", some), 1, 1)
    assert made.references.energies == FREE
    energies = {frame.key: frame.energy for frame in some}
    for part in made.frames.values():
        assert all(frame.energy == energies[frame.key] and frame.forces is not None for frame in part)


def test_a_loader_collates_in_the_precision_asked_for(data):
    loader = ResumableLoader(data.train_dataloader().dataset, EpochBatches(24, 8, 0, True), collate, 0)
    assert next(iter(loader)).positions.dtype == torch.float32


def test_the_spread_of_an_ensemble_reaches_the_batch(tmp_path, some):
    three = LabelStore.create(tmp_path / "three", replace(IDENTITY, members=3), {"rows": ROWS})
    one = store_of(tmp_path / "one", some)
    spreads = {frame.key: np.random.default_rng(number).random(len(frame)) for number, frame in enumerate(some)}
    labels = {key: one.read(key) for key in spreads}
    three.append({key: replace(labels[key], spread=Spread(0.1, spreads[key], labels[key].forces)) for key in spreads})
    made = DistillationData(ReaderData(name="some", read=lambda: (some, FREE), split=Split(), batch_size=5))
    made.prepare_neighbors(4.0, torch.float64)
    made.fit_references()
    made.join(three, train_rows=2, eval_rows=2)
    batch = next(iter(made.train_dataloader()))
    expected = np.concatenate([spreads[key] for key in keys_of(batch, some)])
    np.testing.assert_array_equal(batch.teacher_energy_spread.numpy(), expected)
    assert next(iter(made.val_dataloader())).teacher_energy_spread is None
