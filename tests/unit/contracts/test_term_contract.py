"""Every property of the contract of terms fails for a term that lacks it."""

import pytest
import torch

from jointkd.contracts.properties import FAILED, outcome, outcomes, properties
from jointkd.contracts.terms import TermContract
from jointkd.structures.batch import Prediction, Structure
from jointkd.training.loss import AtomicEnergy, Energy, Forces, Hessian, SumCount, Term


class OfAnotherDtype(Forces):
    def __call__(self, prediction, batch):
        return SumCount(super().__call__(prediction, batch).sum.double(), torch.tensor(1.0, dtype=torch.float64))


class NotZero(Forces):
    def difference(self, prediction, batch):
        return super().difference(prediction, batch) + 0.1


class Root(Forces):
    def __call__(self, prediction, batch):
        values = self.difference(prediction, batch).square().sum(-1).sqrt()
        return SumCount(values.sum(), values.new_tensor(float(len(values))))


class Detached(Energy):
    def difference(self, prediction, batch):
        difference = super().difference(prediction, batch)
        return (difference + difference.detach()) / 2


class Negative(Forces):
    def __call__(self, prediction, batch):
        result = super().__call__(prediction, batch)
        return SumCount(-result.sum, result.count)


class CountsLargeOnes(Forces):
    def __call__(self, prediction, batch):
        values = self.norm(self.difference(prediction, batch))
        return SumCount(values.sum(), (values > 1e-3).sum() + values.new_tensor(1.0))


class MeanAlready(Forces):
    def __call__(self, prediction, batch):
        result = super().__call__(prediction, batch)
        return SumCount(result.sum / result.count, result.count)


class Weighted(Forces):
    def __call__(self, prediction, batch):
        result = super().__call__(prediction, batch)
        return SumCount(self.weight * result.sum, result.count)


class AtomsForStructures(Energy):
    per_atom = True


class CountsOtherwiseInSeveralProcesses(Forces):
    def __call__(self, prediction, batch):
        result = super().__call__(prediction, batch)
        return SumCount(result.sum, result.count * (2 if torch.distributed.is_initialized() else 1))


class UndeclaredTeacher(AtomicEnergy):
    teacher = False


class UndeclaredRows(Hessian):
    def __init__(self, weight: float, norm: str) -> None:
        super().__init__(weight, norm, rows=2)
        self.rows = 0


class NeedlessTeacher(Forces):
    teacher = True


FAULTS = [
    (OfAnotherDtype, "test_sum_and_count_are_scalars_of_the_batchs_dtype"),
    (NotZero, "test_a_perfect_prediction_costs_nothing"),
    (Root, "test_a_perfect_prediction_costs_nothing"),
    (Detached, "test_a_wrong_prediction_costs_something_that_can_be_differentiated"),
    (Negative, "test_a_wrong_prediction_costs_something_that_can_be_differentiated"),
    (CountsLargeOnes, "test_the_count_does_not_depend_on_the_prediction"),
    (MeanAlready, "test_sums_and_counts_add_up_over_batches"),
    (Weighted, "test_the_loss_is_proportional_to_the_weight"),
    (AtomsForStructures, "test_micro_batches_add_up_to_the_batch"),
    (CountsOtherwiseInSeveralProcesses, "test_losses_of_processes_average_to_the_loss_of_all"),
    (UndeclaredTeacher, "test_labels_are_read_where_the_flags_say_so_and_only_there"),
    (UndeclaredRows, "test_labels_are_read_where_the_flags_say_so_and_only_there"),
    (NeedlessTeacher, "test_labels_are_read_where_the_flags_say_so_and_only_there"),
]


def contract_of(term: Term) -> type[TermContract]:
    return type("Own", (TermContract,), {"term": term})


@pytest.mark.parametrize(("term", "broken"), FAULTS, ids=lambda part: getattr(part, "__name__", ""))
def test_a_fault_is_found_by_the_property_that_it_breaks(term, broken):
    found = outcome(contract_of(term(3.0, "l2")), broken)
    assert found.verdict == FAILED, found


def test_every_property_has_a_fault_that_breaks_it():
    assert {broken for _, broken in FAULTS} == {*properties(TermContract)}


class Sum(Term):
    """A term that reads a prediction alone."""

    per_atom = False

    def difference(self, prediction: Prediction, batch: Structure) -> torch.Tensor:
        assert prediction.forces is not None
        return prediction.forces.new_zeros(batch.num_structures, 3).index_add(0, batch.batch, prediction.forces)


def test_a_term_without_fault_has_every_property():
    assert [str(each) for each in outcomes(contract_of(Sum(0.5, "mse"))) if each.verdict == FAILED] == []
