"""The errors of a prediction, as the paper's tables define them."""

from dataclasses import replace

import pytest
import torch

from jointkd.errors import DivergedError
from jointkd.evaluation.metrics import METRICS, MeanOfAll, check_finite, prediction_errors
from jointkd.structures.batch import Prediction, collate
from tests.structures import ETHANOL, SALT, WATER, batch_of, labelled


def prediction_for(batch) -> Prediction:
    torch.manual_seed(0)
    return Prediction(
        torch.randn(batch.num_atoms, dtype=torch.float64),
        torch.randn(batch.num_atoms, 3, dtype=torch.float64),
        torch.randn(batch.num_atoms, 2, 3, dtype=torch.float64),
        stress=torch.randn(batch.num_structures, 3, 3, dtype=torch.float64),
    )


def test_each_metric_is_the_mean_absolute_error_of_its_definition():
    batch = collate([labelled(ETHANOL, 2, seed=1), labelled(WATER, 2, seed=2)], torch.float64)
    prediction = prediction_for(batch)
    energies = (prediction.atomic_energies[:9].sum(), prediction.atomic_energies[9:].sum())
    per_atom = [abs(float(energies[b] - batch.energy[b])) / count for b, count in enumerate((9, 3))]
    errors = prediction_errors(prediction, batch)
    assert set(errors) == set(METRICS)
    means = {name: float(error.abs().mean()) for name, error in errors.items()}
    assert means == {
        "energy_mae_meV_per_atom": pytest.approx(1e3 * sum(per_atom) / 2),
        "energy_mae_meV": pytest.approx(1e3 * (9 * per_atom[0] + 3 * per_atom[1]) / 2),
        "force_mae_meV_per_A": pytest.approx(1e3 * float((prediction.forces - batch.forces).abs().mean())),
        "atomic_energy_mae_meV": pytest.approx(
            1e3 * float((prediction.atomic_energies - batch.teacher_atomic_energies).abs().mean())
        ),
        "hessian_row_mae_eV_per_A2": pytest.approx(float((prediction.hessian_rows - batch.hessian_rows).abs().mean())),
        "stress_mae_meV_per_A3": pytest.approx(1e3 * float((prediction.stress - batch.stress).abs().mean())),
    }


def test_the_errors_of_two_small_structures_are_those_calculated_by_hand():
    batch = collate([labelled(WATER, 1), labelled(SALT, 1)], torch.float64)
    zeros = Prediction(torch.zeros(5), torch.zeros(5, 3), torch.zeros(5, 1, 3))
    batch = replace(
        batch,
        energy=torch.tensor([0.3, -0.4]),  # of three atoms and of two
        forces=torch.tensor([[0.3, 0.0, 0.0], *[[0.0, 0.0, 0.0]] * 3, [0.0, -0.3, 0.9]]),
        teacher_atomic_energies=torch.tensor([1.0, -1.0, 0.0, 0.0, 0.5]),
        hessian_rows=torch.tensor([[[3.0, 0.0, -6.0]], *[[[0.0, 0.0, 0.0]]] * 4]),
    )
    errors = {name: float(error.abs().mean()) for name, error in prediction_errors(zeros, batch).items()}
    assert errors == {
        "energy_mae_meV_per_atom": pytest.approx((100 + 200) / 2),
        "energy_mae_meV": pytest.approx((300 + 400) / 2),
        "force_mae_meV_per_A": pytest.approx(1500 / 15),
        "atomic_energy_mae_meV": pytest.approx(500),
        "hessian_row_mae_eV_per_A2": pytest.approx(9 / 15),
    }
    rows = Prediction(zeros.atomic_energies, zeros.forces, batch.hessian_rows)
    assert not prediction_errors(rows, batch)["hessian_row_mae_eV_per_A2"].any()


def test_without_teacher_labels_there_are_errors_of_energies_and_forces_only():
    batch = batch_of(ETHANOL)
    reference = {"energy": torch.zeros(1), "forces": torch.zeros(9, 3)}
    batch = replace(batch, **reference)
    assert list(prediction_errors(prediction_for(batch), batch)) == list(METRICS)[:3]


def test_a_mean_with_a_value_that_is_not_a_number_is_not_a_number():
    metric = MeanOfAll()
    metric.update(torch.tensor([1.0, 2.0]))
    metric.update(torch.tensor([float("nan"), 3.0]))
    metric.update(torch.tensor([4.0]))
    assert metric.compute().isnan()


def test_a_mean_is_over_all_values_of_batches_of_different_sizes_in_double_precision():
    metric = MeanOfAll()
    metric.update(torch.full((3, 2), 1e8))
    metric.update(torch.tensor([1.0]))
    assert metric.compute().item() == (6e8 + 1) / 7
    metric.update(torch.tensor([1e8, 1.0]))  # whose sum is 1e8 in single precision
    assert metric.compute().item() == (7e8 + 2) / 9
    assert MeanOfAll().compute().dtype == metric.compute().dtype == torch.float64


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_test_metrics_that_are_not_finite_are_refused_and_named(value):
    check_finite({"a": 1.0})
    with pytest.raises(DivergedError, match=rf"the test failed: b={value}: the student"):
        check_finite({"a": 1.0, "b": value})
