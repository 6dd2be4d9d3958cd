"""The contract of terms of the loss: sums and counts that add up, over batches, micro-batches and processes."""

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar
from unittest import mock

import torch
from ase import Atoms
from torch import Tensor

from jointkd.contracts.properties import Contract
from jointkd.contracts.structures import CRYSTAL, ETHANOL, PEROXIDE, SALT, WATER, structure
from jointkd.structures.batch import MicroBatch, Prediction, Structure, collate
from jointkd.training.loss import SumCount, Term
from jointkd.training.weighted_sum import weighted_sum

STRUCTURES = (ETHANOL, WATER, SALT, PEROXIDE, CRYSTAL)  # of different sizes
ROWS = 2  # Hessian rows of each structure, for terms that read none


class TermContract(Contract):
    """What must hold for every term; a subclass sets `term`.

        class TestNetForce(TermContract):
            term = NetForce(1.0, "l2")

    Labels are random, and such as one energy could have: atomic energies sum to it, forces and rows to zero.
    """

    term: ClassVar[Term]

    def batches(self) -> list[Structure]:
        """One batch of each structure, with labels of every kind."""
        rows = self.term.rows or ROWS
        return [labelled(atoms, rows, seed) for seed, atoms in enumerate(STRUCTURES)]

    def of(self, batch: Structure, prediction: Prediction) -> SumCount:
        """The sum and the count of a copy of the term, which leaves the term's own counters as they are."""
        return copy.deepcopy(self.term)(prediction, batch)

    def test_sum_and_count_are_scalars_of_the_batchs_dtype(self) -> None:
        """Sum and count are finite scalars in the precision of the batch."""
        for dtype in (torch.float32, torch.float64):
            batch = collate(self.batches(), dtype)
            result = self.of(batch, wrong(batch))
            for name in ("sum", "count"):
                value = getattr(result, name)
                assert value.shape == (), f"the {name} has the shape {tuple(value.shape)}, must be a scalar"
                assert value.dtype == dtype, f"the {name} is {value.dtype} in a batch of {dtype}"
                assert torch.isfinite(value), f"the {name} is not finite"
            assert result.count > 0, f"the count is {float(result.count)}, must be positive"

    def test_a_perfect_prediction_costs_nothing(self) -> None:
        """The sum is zero for a prediction that equals the labels, and its gradients there are finite."""
        batch = collate(self.batches(), torch.float64)
        prediction = differentiable(perfect(batch))
        total = self.of(batch, prediction).sum
        self.within(abs(float(total.detach())), 1e-10, "sum for a perfect prediction")
        for name, slope in slopes(total, prediction).items():
            assert torch.isfinite(slope).all(), f"the gradient with respect to {name} is not finite where it is perfect"

    def test_a_wrong_prediction_costs_something_that_can_be_differentiated(self) -> None:
        """The sum is positive for another prediction, and its gradient agrees with finite differences."""
        batch = collate(self.batches(), torch.float64)
        prediction = differentiable(wrong(batch))
        total = self.of(batch, prediction).sum
        assert total > 0, f"the sum is {float(total.detach())} for a wrong prediction"
        found = slopes(total, prediction)
        assert any(bool(slope.any()) for slope in found.values()), "the sum does not depend on the prediction"
        step, generator = 1e-6, torch.Generator().manual_seed(7)
        for name, value in fields_of(prediction).items():
            change = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            ahead, behind = (
                self.of(batch, replaced(prediction, {name: value.detach() + by * change})).sum.detach()
                for by in (step, -step)
            )
            along = (found[name] * change).sum()
            self.same(along, (ahead - behind) / (2 * step), 1e-5, f"gradient with respect to {name}", floor=0.1)

    def test_the_count_does_not_depend_on_the_prediction(self) -> None:
        """The count depends on the batch alone."""
        batch = collate(self.batches(), torch.float64)
        counts = [float(self.of(batch, prediction).count) for prediction in (perfect(batch), wrong(batch))]
        assert counts[0] == counts[1], f"the count is {counts[0]} for one prediction and {counts[1]} for another"

    def test_sums_and_counts_add_up_over_batches(self) -> None:
        """Sums and counts of two batches add up to those of both together."""
        batch = collate(self.batches(), torch.float64)
        whole = self.of(batch, wrong(batch))
        one, two = (self.of(part, wrong(part)) for part in (self.group(0, 2), self.group(2, 5)))
        self.same(one.sum + two.sum, whole.sum, 1e-12, "sums of two batches")
        self.same(one.count + two.count, whole.count, 1e-12, "counts of two batches")

    def test_the_loss_is_proportional_to_the_weight(self) -> None:
        """Twice the weight gives twice the loss, and the weight zero gives none."""
        batch = collate(self.batches(), torch.float64)
        losses = [self.loss(batch, weight) for weight in (1.0, 2.0, 0.0)]
        self.same(losses[1], 2 * losses[0], 1e-12, "loss at twice the weight")
        self.within(float(losses[2]), 0.0, "loss at the weight zero")

    def test_micro_batches_add_up_to_the_batch(self) -> None:
        """The losses of micro-batches of different sizes average to the loss of the whole batch (`per_atom`)."""
        batch = collate(self.batches(), torch.float64)
        parts = [self.group(0, 1), self.group(1, 5)]
        shared = {"num_structures": batch.num_structures, "num_atoms": batch.num_atoms, "parts": len(parts)}
        losses = [
            self.loss(replace(part, whole=MicroBatch(**shared, last=part is parts[-1]))) / len(parts) for part in parts
        ]
        self.same(torch.stack(losses).sum(), self.loss(batch), 1e-12, "sum of the losses of micro-batches")

    def test_losses_of_processes_average_to_the_loss_of_all(self) -> None:
        """The losses of two processes with batches of different sizes average to the loss of one process."""
        batch = collate(self.batches(), torch.float64)
        parts = [self.group(0, 1), self.group(1, 5)]
        sent: list[Tensor] = []
        with processes(len(parts), lambda tensor: sent.append(tensor.clone())):
            for part in parts:
                self.loss(part)
        calls = len(sent) // len(parts)  # of each process, which call all_reduce in the same order
        totals = itertools.cycle([torch.stack(sent[call::calls]).sum(0) for call in range(calls)])
        with processes(len(parts), lambda tensor: tensor.copy_(next(totals))):
            losses = [self.loss(part) for part in parts]
        self.same(torch.stack(losses).mean(), self.loss(batch), 1e-12, "mean of the losses of two processes")

    def test_labels_are_read_where_the_flags_say_so_and_only_there(self) -> None:
        """`atomic`, `rows` and `teacher` are true of a term that reads atomic energies, Hessian rows, or either."""
        term, batch = self.term, collate(self.batches(), torch.float64)
        prediction = wrong(batch)
        value = self.of(batch, prediction).sum
        labels = {"atomic": "teacher_atomic_energies", "rows": "hessian_rows"}
        read = {
            flag: bool(self.of(replace(batch, **{name: getattr(batch, name) + 0.5}), prediction).sum != value)
            for flag, name in labels.items()
        }
        for flag, reads in {**read, "teacher": any(read.values())}.items():
            which = labels.get(flag, "labels of the teacher")
            says = getattr(term, flag)
            assert reads == bool(says), f"{flag}={says} of a term that {'reads' if reads else 'does not read'} {which}"
        if not term.atomic:
            batch = replace(batch, teacher_atomic_energies=None, teacher_energy_spread=None)
        if not term.rows:
            batch, prediction = (
                replace(batch, hessian_rows=None, row_ids=None, probes=None),
                prediction._replace(hessian_rows=None),
            )
        self.same(self.of(batch, prediction).sum, value, 0.0, "sum without the labels that the term does not read")

    def group(self, start: int, stop: int) -> Structure:
        """A batch of some of the structures."""
        return collate(self.batches()[start:stop], torch.float64)

    def loss(self, batch: Structure, weight: float | None = None) -> Tensor:
        """The loss of the term alone for a wrong prediction, with its own weight or another."""
        term = copy.deepcopy(self.term)
        if weight is not None:
            term.weight = weight
        return weighted_sum({"term": term}, {"term": term(wrong(batch), batch)}, batch)[0]


def labelled(atoms: Atoms, rows: int, seed: int) -> Structure:
    """A structure in float64 with random labels of every kind: atomic energies sum to the energy, forces and each
    Hessian row to zero."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    count = len(atoms)
    atomic, forces, hessian_rows = draw(count), draw(count, 3), draw(count, rows, 3)
    row_ids = torch.randint(3 * count, (1, rows), generator=generator)
    return structure(
        atoms,
        energy=atomic.sum()[None],
        forces=forces - forces.mean(0),
        teacher_atomic_energies=atomic,
        teacher_energy_spread=draw(count).abs(),
        hessian_rows=hessian_rows - hessian_rows.mean(0),
        row_ids=row_ids,
        stress=(stress := draw(1, 3, 3)) + stress.mT,
        inverse_volume=draw(1).abs(),
    )


def perfect(batch: Structure) -> Prediction:
    """The prediction that equals the labels of a batch."""
    assert batch.teacher_atomic_energies is not None
    return Prediction(batch.teacher_atomic_energies, batch.forces, batch.hessian_rows, stress=batch.stress)


def wrong(batch: Structure) -> Prediction:
    """A prediction off by up to 2, by the same in every batch that holds the same labels."""
    return with_each(perfect(batch), lambda value: value + torch.sin(1e3 * value) + 1)


def with_each(prediction: Prediction, change: Callable[[Tensor], Tensor]) -> Prediction:
    """A prediction with changed tensors."""
    return replaced(prediction, {name: change(value) for name, value in fields_of(prediction).items()})


def replaced(prediction: Prediction, tensors: dict[str, Tensor]) -> Prediction:
    """A prediction with other tensors, by name."""
    values: dict[str, Any] = dict(tensors)
    return prediction._replace(**values)


def fields_of(prediction: Prediction) -> dict[str, Tensor]:
    """The tensors of a prediction by name."""
    named = zip(prediction._fields, prediction, strict=True)
    return {name: value for name, value in named if isinstance(value, Tensor)}


def differentiable(prediction: Prediction) -> Prediction:
    """A copy by which derivatives can be taken."""
    return with_each(prediction, lambda value: value.detach().clone().requires_grad_())


def slopes(total: Tensor, prediction: Prediction) -> dict[str, Tensor]:
    """Derivatives of a sum by every field of a prediction."""
    fields = fields_of(prediction)
    assert total.requires_grad, "the sum cannot be differentiated with respect to the prediction"
    found = torch.autograd.grad(total, list(fields.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(fields, found, strict=True))


@contextmanager
def processes(count: int, all_reduce: Callable[[Tensor], object]) -> Iterator[None]:
    """While the block runs, torch.distributed answers as in one of several processes."""
    replacements: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "get_world_size": lambda: count,
        "all_reduce": all_reduce,
    }
    with mock.patch.multiple("torch.distributed", **replacements):
        yield
