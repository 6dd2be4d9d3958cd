"""Training on products of the Hessian with vectors: stored probes, or mixtures of stored rows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from jointkd.data.datamodule import DistillationData
from jointkd.data.options import ReaderData
from jointkd.data.splits import Split
from jointkd.errors import LabelMismatch
from jointkd.labels.store import LabelStore
from jointkd.structures.batch import Structure
from jointkd.structures.frame import Frame
from tests.files import FREE, frames
from tests.teachers import IDENTITY, NumberTeacher, along, probes_of, rows_of

FRAMES = frames(30)
COUNT = 4  # of rows or probes


def joined(path: Path, probes: list[Frame], rows: list[Frame], sampling: str) -> DistillationData:
    """A data module with labels of springs, of some structures along probes and of others along rows."""
    settings = {"rows": 0, "probes": COUNT} if probes else {"rows": COUNT}
    store = LabelStore.create(path, IDENTITY, settings)
    chosen = {**probes_of(probes, COUNT), **rows_of(rows, COUNT)}
    labels = NumberTeacher().label(FRAMES, [chosen[frame.key] for frame in FRAMES])
    store.append({frame.key: label for frame, label in zip(FRAMES, labels, strict=True)})
    data = DistillationData(ReaderData(name="some", read=lambda: (FRAMES, FREE), split=Split(), batch_size=5))
    data.prepare_neighbors(4.0, torch.float64)
    data.fit_references()
    data.join(store, train_rows=2, eval_rows=0, sampling=sampling)
    return data


def parts(data: DistillationData, epoch: int) -> list[Structure]:
    """The training structures of an epoch."""
    loader = data.train_dataloader()
    loader.batches.set_epoch(epoch)
    return [batch.structure(number) for batch in loader for number in range(batch.num_structures)]


def check(part: Structure) -> None:
    """Require that what is learned are products of the Hessian with vectors of length one."""
    assert part.row_ids is None
    assert part.directions is part.probes
    vectors, products = (each.numpy().swapaxes(0, 1) for each in (part.probes, part.hessian_rows))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=(1, 2)), 1, atol=1e-6)
    frame = Frame(part.atomic_numbers.numpy(), part.positions.numpy())
    (labels,) = NumberTeacher().label([frame], [np.arange(3 * len(frame))])
    np.testing.assert_allclose(products, along(labels.hessian_rows, vectors), atol=1e-5 * np.abs(products).max())


@pytest.mark.parametrize("sampling", ["fresh", "fixed", "mixed"])
@pytest.mark.parametrize("of_rows", [0, 15], ids=["probes", "probes and rows"])
def test_a_step_learns_products_with_the_vectors_that_come_with_them(tmp_path, of_rows, sampling):
    data = joined(tmp_path, FRAMES[of_rows:], FRAMES[:of_rows], sampling)
    epochs = []
    for epoch in range(2):
        some = parts(data, epoch)
        for part in some:
            check(part)
        epochs.append({part.positions.numpy().tobytes(): part.probes for part in some})
    same = [torch.equal(vectors, epochs[1][place]) for place, vectors in epochs[0].items()]
    assert all(same) if sampling == "fixed" else not any(same)


def test_a_test_on_rows_refuses_probes(tmp_path):
    data = joined(tmp_path, FRAMES, [], "fresh")
    with pytest.raises(LabelMismatch, match="test structures have probes in place of Hessian rows"):
        data.join(data.teacher["train"].store, train_rows=2, eval_rows=1)


def test_mixtures_of_rows_are_new_in_each_epoch_and_the_same_again(tmp_path):
    data = joined(tmp_path, [], FRAMES, "mixed")
    for part in parts(data, 0):
        check(part)
        assert ((part.probes != 0).sum((0, 2)) == COUNT).all()  # every stored row has its part
    dataset = data.train_dataloader().dataset
    first, again, later = dataset[0, 3], dataset[0, 3], dataset[1, 3]
    assert torch.equal(first.probes, again.probes)
    assert not torch.equal(first.probes, later.probes)


def test_rows_that_are_not_mixed_come_by_their_numbers(tmp_path):
    for part in parts(joined(tmp_path, [], FRAMES, "fresh"), 0):
        assert part.probes is None
        assert part.directions is part.row_ids
