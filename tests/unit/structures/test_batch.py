"""Structures and batches are frozen; they are collated, moved and pickled without changes of their values."""

from dataclasses import FrozenInstanceError, dataclass, replace

import pytest
import torch
from ase import Atoms
from lightning.fabric.utilities.apply_func import move_data_to_device
from torch.utils.data import DataLoader
from torch_geometric.data import Batch, Data

from jointkd.errors import DataError
from jointkd.structures.batch import TENSORS, MicroBatch, Structure, collate
from tests.structures import ETHANOL, MOLECULES, SALT, WATER, batch_of, equal, labelled, structure

EVERY = [labelled(atoms, rows=3) for atoms in (*MOLECULES, SALT, Atoms("H"))]
COMPLETE = [  # with labels that only some sets have
    replace(
        one,
        teacher_energy_spread=torch.rand(one.num_atoms),
        probes=torch.rand(one.num_atoms, 3, 3),
        from_teacher=torch.tensor([[True, False]]),
    )
    for one in EVERY
]


class Counted(Data):
    def __inc__(self, key, value, *args, **kwargs):
        return self.num_edges if key == "edge_reverse" else super().__inc__(key, value, *args, **kwargs)


def test_a_batch_equals_that_of_torch_geometric():
    data = []
    for one in EVERY:
        values = {name: getattr(one, name) for name in TENSORS if name not in ("batch", "ptr")}
        data.append(Counted(**{k: v for k, v in values.items() if v is not None}, num_nodes=one.num_atoms))
    batch, expected = collate(EVERY, torch.float64), Batch.from_data_list(data)
    assert batch.num_structures == expected.num_graphs == 5
    assert batch.num_atoms == expected.num_nodes
    torch.testing.assert_close(batch.atoms_per_structure, torch.tensor([len(one.positions) for one in EVERY]))
    for name in TENSORS:
        if name not in ("teacher_energy_spread", "probes", "from_teacher"):
            torch.testing.assert_close(getattr(batch, name), expected[name], rtol=0, atol=0)
    assert batch.teacher_energy_spread is batch.probes is batch.from_teacher is None


def test_a_batch_of_batches_equals_that_of_their_structures():
    halves = [collate(COMPLETE[:2], torch.float64), *COMPLETE[2:3], collate(COMPLETE[3:], torch.float64)]
    assert equal(collate(halves, torch.float64), collate(COMPLETE, torch.float64))


def test_collating_does_not_change_the_structures():
    before = [replace(one, edge_index=one.edge_index.clone()) for one in EVERY]
    collate(EVERY)
    collate(EVERY[:1]).positions.zero_()
    assert all(equal(one, same) for one, same in zip(EVERY, before, strict=True))
    assert EVERY[0].positions.any()


def test_a_label_that_some_structures_lack_is_refused():
    some = [EVERY[0], replace(EVERY[1], forces=None), EVERY[2]]
    with pytest.raises(DataError, match="forces: 2 of the 3 structures of a batch have it; give it for all"):
        collate(some)


def test_a_structure_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        EVERY[0].positions = EVERY[0].positions + 1


def test_energies_of_structures_are_sums_of_atomic_energies():
    batch = batch_of(WATER, ETHANOL)
    energies = torch.arange(12.0, dtype=torch.float64)
    torch.testing.assert_close(batch.total_energy(energies), torch.stack([energies[:3].sum(), energies[3:].sum()]))


def test_only_floating_point_fields_change_their_dtype():
    batch = collate(COMPLETE, torch.float64)
    single = batch.to(torch.float32)
    assert equal(single, collate(COMPLETE))
    for name in TENSORS:
        integer = name in ("atomic_numbers", "edge_index", "edge_reverse", "batch", "ptr", "row_ids")
        others = torch.bool if name == "from_teacher" else torch.float32
        assert getattr(single, name).dtype == (torch.int64 if integer else others), name


@dataclass(frozen=True)
class Edges:
    """An example of what a student derives from the neighbour list."""

    count: torch.Tensor

    def to(self, target: torch.device) -> "Edges":
        return Edges(self.count.to(target))

    def pin_memory(self) -> "Edges":
        return Edges(self.count.pin_memory())


def edges_of(batch: Structure) -> Edges:
    return Edges(torch.tensor(batch.edge_index.shape[1]))


@pytest.mark.parametrize("move", [lambda batch: batch.to("meta"), lambda batch: move_data_to_device(batch, "meta")])
def test_every_tensor_is_moved_to_a_device(move):
    batch = replace(collate(COMPLETE, graph_of=edges_of), whole=MicroBatch(8, 100, 2, True))
    moved = move(batch)
    assert isinstance(moved, Structure)
    assert {getattr(moved, name).device.type for name in TENSORS} == {moved.graph.count.device.type} == {"meta"}
    assert moved.whole == batch.whole
    assert batch.positions.device.type == batch.graph.count.device.type == "cpu"


def test_the_graph_is_derived_once_from_the_finished_batch():
    seen = []
    batch = collate(EVERY, torch.float64, lambda batch: seen.append(batch) or edges_of(batch))
    assert [equal(one, batch) for one in seen] == [True]
    assert int(batch.graph.count) == sum(one.edge_index.shape[1] for one in EVERY)


def with_edges(structures: list[Structure]) -> Structure:
    return collate(structures, torch.float64, edges_of)


def test_batches_of_worker_processes_are_complete():
    (batch,) = DataLoader(COMPLETE, batch_size=5, collate_fn=with_edges, num_workers=1)
    assert equal(batch, collate(COMPLETE, torch.float64))
    assert torch.equal(batch.graph.count, edges_of(batch).count)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_a_loader_pins_every_tensor():
    (batch,) = DataLoader(COMPLETE, batch_size=5, collate_fn=with_edges, pin_memory=True)
    assert all(getattr(batch, name).is_pinned() for name in TENSORS)
    assert batch.graph.count.is_pinned()
    assert equal(batch.to("cuda").to("cpu"), collate(COMPLETE, torch.float64))


def test_every_tensor_is_pinned(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    batch = collate(COMPLETE, graph_of=edges_of)
    pinned = batch.pin_memory()
    assert all(getattr(pinned, name) is not getattr(batch, name) for name in TENSORS)
    assert pinned.graph.count is not batch.graph.count
    assert equal(pinned, batch)


def test_a_single_structure_equals_a_batch_of_one():
    one = structure(WATER)
    assert equal(one, collate([one], torch.float64))
