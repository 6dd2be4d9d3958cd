"""Sizes of padded batches: few, and large enough."""

import numpy as np
import pytest
import torch

from jointkd.data.dataset import EpochBatches
from jointkd.data.padded_sizes import MOST, padded_sizes
from tests.structures import CUTOFF
from tests.toy import toy_data


@pytest.mark.parametrize("spread", [0.01, 0.5])
@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (2, 1), (2, 2)])
def test_batches_of_later_epochs_fit_too_and_waste_little(spread, ranks, parts):
    rng = np.random.default_rng(0)
    atoms = np.maximum(3, rng.normal(40, 40 * spread, 500)).astype(int)
    pairs = atoms**2 // 4
    batches = EpochBatches(500, 16, 0, True, 0, ranks, parts)
    sizes = padded_sizes(atoms, pairs, batches)
    assert len(sizes) == (1 if spread == 0.01 else MOST)
    assert sizes == sorted(sizes)
    used = wanted = held = count = 0
    batches.set_epoch(400)  # none of those that the sizes come from
    for batch in batches:
        members = [index for _, index in batch]
        assert len(members) < sizes[0].structures
        size = next((s for s in sizes if s.pairs >= pairs[members].sum() and s.atoms > atoms[members].sum()), None)
        count += 1
        if size is not None:
            held, used, wanted = held + 1, used + size.pairs, wanted + pairs[members].sum()
    assert held >= 0.95 * count
    assert used <= (1.15 if spread == 0.01 else 2) * wanted


def test_batches_of_training_are_padded_where_that_is_asked_for_and_those_of_tests_never(tmp_path):
    data = toy_data(tmp_path, batch_size=5)
    plain = list(data.train_dataloader())
    data.pad_batches(None)
    padded = list(data.train_dataloader())
    assert len({batch.num_atoms for batch in padded}) <= MOST < len(padded)
    for ours, theirs in zip(padded, plain, strict=True):
        assert ours.real_atoms == theirs.num_atoms
        assert ours.real_structures == theirs.num_structures
        assert torch.equal(ours.energy[: ours.real_structures], theirs.energy)
        lengths = ours.edge_shift.norm(dim=1)[theirs.edge_index.shape[1] :]
        assert (lengths > CUTOFF).all()
    assert all(batch.real is None for batch in data.val_dataloader())


def test_batches_of_referenced_structures_alone_fit_too():
    atoms = np.repeat([5, 40], [300, 20])  # the few with reference labels are large
    batches = EpochBatches(320, 8, 0, True, referenced=np.arange(300, 320))
    largest = padded_sizes(atoms, atoms**2 // 4, batches)[-1]
    assert largest.atoms >= 8 * 40
    assert batches.only_referenced_from is None
    assert batches.epoch == 0


def test_a_batch_that_no_size_holds_stays_as_it_is(tmp_path):
    data = toy_data(tmp_path, batch_size=5)
    data.pad_batches(None)
    loader = data.train_dataloader()
    loader.collate_fn.sizes.clear()
    assert all(batch.real is None for batch in loader)


def test_without_stored_neighbours_nothing_is_padded_and_the_log_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("jointkd.data.stored_neighbors.MAX_DISK_SHARE", 0.0)
    data = toy_data(tmp_path, batch_size=5)
    data.pad_batches(None)
    with caplog.at_level("INFO"):
        batches = list(data.train_dataloader())
    assert all(batch.real is None for batch in batches)
    assert "neighbours are not stored" in caplog.text
