"""Padded batches: nothing depends on what was added, and the structures of a batch can be taken out again."""

from dataclasses import replace

import pytest
import torch

from jointkd.structures.batch import Real, collate
from jointkd.structures.padding import Size, pad
from jointkd.students.derivatives import predict
from jointkd.students.gemnet import GemNet
from jointkd.students.operations import plain_graph
from jointkd.students.painn import PaiNN
from jointkd.training.loss import AtomicEnergy, Energy, Forces, Hessian, Stress
from jointkd.training.weighted_sum import weighted_sum
from tests.structures import CUTOFF, ETHANOL, SALT, WATER, equal, labelled, with_probes

PAINN, GEMNET = {"width": 8, "layers": 2, "radial": 5}, {"width": 8, "blocks": 1}
STUDENTS = {
    "painn": lambda: PaiNN(**PAINN, cutoff=CUTOFF),
    "painn as the reference": lambda: PaiNN(**PAINN, cutoff=CUTOFF, smooth=False),
    "conservative painn": lambda: PaiNN(**PAINN, cutoff=CUTOFF, conservative=True, repulsion=True),
    "gemnet_dt": lambda: GemNet(**GEMNET, cutoff=CUTOFF),
    "gemnet_t": lambda: GemNet(**GEMNET, cutoff=CUTOFF, conservative=True),
}
TERMS = {
    "energy": Energy(5, "mae"),
    "forces": Forces(100, "l2"),
    "atomic_energy": AtomicEnergy(20, "huber"),
    "hessian": Hessian(400, "l2", rows=2, limit=2.0),
}


def batch_of_three():
    return collate([labelled(atoms, 2, seed) for seed, atoms in enumerate((ETHANOL, WATER, SALT))], torch.float64)


def size_with_room(batch) -> Size:
    return Size(batch.num_atoms + 7, batch.edge_index.shape[1] // 2 + 11, batch.num_structures + 3)


@pytest.mark.parametrize(
    ("name", "make"), [*((name, batch_of_three) for name in STUDENTS), ("painn", lambda: with_probes(batch_of_three()))]
)
def test_padding_changes_neither_predictions_nor_the_loss_nor_its_gradient(name, make):
    torch.manual_seed(1)
    student, batch = STUDENTS[name]().double(), make()
    padded = pad(batch, size_with_room(batch), 2 * CUTOFF)
    found = [of_batch(student, each) for each in (batch, replace(padded, graph=plain_graph(student.graph_of, padded)))]
    for ours, theirs in zip(*found, strict=True):
        theirs = theirs[: len(ours)] if ours.dim() else theirs
        assert torch.allclose(ours, theirs, rtol=1e-11, atol=1e-12 * float(ours.abs().max()))


def of_batch(student, batch):
    student.zero_grad()
    terms = TERMS | ({"stress": Stress(10, "l2")} if student.conservative else {})
    prediction = predict(student, batch, batch.directions, student.conservative)
    loss, means = weighted_sum(terms, {name: term(prediction, batch) for name, term in terms.items()}, batch)
    loss.backward()
    gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    return [loss.detach(), *means.values(), *(value.detach() for value in prediction[:3]), *gradients]


def test_a_padded_batch_knows_what_of_it_is_real():
    batch = batch_of_three()
    padded = pad(batch, size_with_room(batch), 2 * CUTOFF)
    assert padded.real == Real(batch.num_atoms, 3)
    assert (padded.real_atoms, padded.real_structures) == (batch.num_atoms, 3)
    assert (padded.num_atoms, padded.num_structures) == (batch.num_atoms + 7, 6)
    assert (padded.atoms_per_structure > 0).all()  # energies are divided by them
    assert torch.equal(padded.edge_reverse[padded.edge_reverse], torch.arange(padded.edge_index.shape[1]))


@pytest.mark.parametrize(
    ("more", "holds"),
    [((1, 0, 1), True), ((3, 5, 3), True), ((0, 0, 1), False), ((1, -1, 1), False), ((1, 0, 0), False)],
)
def test_a_size_holds_a_batch_with_a_structure_and_atoms_to_spare(more, holds):
    batch = batch_of_three()
    least = (batch.num_atoms, batch.edge_index.shape[1] // 2, batch.num_structures)
    size = Size(*(count + extra for count, extra in zip(least, more, strict=True)))
    assert size.holds(batch) == holds
    if holds:
        assert pad(batch, size, 2 * CUTOFF).num_atoms == size.atoms


def test_a_structure_of_a_batch_is_what_went_into_it():
    many = [labelled(atoms, 2, seed) for seed, atoms in enumerate((ETHANOL, WATER, SALT))]
    batch = collate(many, torch.float64)
    padded = pad(batch, size_with_room(batch), 2 * CUTOFF)
    for number, one in enumerate(many):
        assert equal(batch.structure(number), collate([one], torch.float64))
        assert equal(padded.structure(number), collate([one], torch.float64))
