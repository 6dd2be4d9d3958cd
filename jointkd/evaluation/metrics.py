"""The metrics of the paper's tables: the definition of each error, and the table of test results."""

import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from jointkd.errors import DivergedError
from jointkd.structures.batch import Prediction, Structure

METRICS = {
    "energy_mae_meV_per_atom": "mean over structures of |Ê - E| / N",
    "energy_mae_meV": "mean over structures of |Ê - E|",
    "force_mae_meV_per_A": "mean over force components of |F̂ - F|",
    "stress_mae_meV_per_A3": "mean over components of |σ̂ - σ|",
    "atomic_energy_mae_meV": "mean over atoms of |Ê_i - E_i of the teacher|",
    "hessian_row_mae_eV_per_A2": "mean over entries of the sampled rows of |Ĥ - H of the teacher|",
}

Values = TypeVar("Values", Tensor, np.ndarray)


class MeanOfAll(Metric):
    """The mean of all values, over batches and ranks; not finite as soon as one value is not.

    (`torchmetrics.MeanMetric` leaves out values that are not numbers.) Sums are in double precision.
    """

    full_state_update = False
    sum: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("sum", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Add values of any shape."""
        self.sum = self.sum + values.detach().sum(dtype=torch.float64)
        self.count = self.count + values.numel()

    def compute(self) -> Tensor:
        """The mean, a scalar; not a number before any value was added."""
        return self.sum / self.count


def check_finite(metrics: Mapping[str, float]) -> None:
    """Raise DivergedError where a test metric is not finite."""
    bad = [f"{name}={value}" for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise DivergedError(
            f"the test failed: {', '.join(bad)}: the student predicts energies or forces that are not finite",
            "train again with a lower optimizer.lr, and check the structures and labels of the test split",
        )


def energy_error(predicted: Values, reference: Values, atoms: Values) -> Values:
    """[B] meV/atom: errors of the energies [B] eV of structures with so many `atoms` [B]."""
    return 1e3 * (predicted - reference) / atoms


def force_error(predicted: Values, reference: Values) -> Values:
    """[N, 3] meV/Å: errors of the forces [N, 3] eV/Å."""
    return 1e3 * (predicted - reference)


def prediction_errors(prediction: Prediction, batch: Structure) -> dict[str, Tensor]:
    """The signed errors of a prediction by metric, whose value is the mean of their absolute values.

    Those of stresses, atomic energies and Hessian rows are included if the batch has these labels, and the prediction
    the values.
    """
    assert prediction.forces is not None
    assert batch.energy is not None
    assert batch.forces is not None
    energies = batch.total_energy(prediction.atomic_energies)
    errors = {
        "energy_mae_meV_per_atom": energy_error(energies, batch.energy, batch.atoms_per_structure),
        "energy_mae_meV": energy_error(energies, batch.energy, torch.ones_like(energies)),
        "force_mae_meV_per_A": force_error(prediction.forces, batch.forces),
    }
    if prediction.stress is not None and batch.stress is not None:
        errors["stress_mae_meV_per_A3"] = 1e3 * (prediction.stress - batch.stress)
    if batch.teacher_atomic_energies is not None:
        errors["atomic_energy_mae_meV"] = 1e3 * (prediction.atomic_energies - batch.teacher_atomic_energies)
    if prediction.hessian_rows is not None and batch.hessian_rows is not None:
        errors["hessian_row_mae_eV_per_A2"] = prediction.hessian_rows - batch.hessian_rows
    return errors


def without_stage(logged: Mapping[str, float]) -> dict[str, float]:
    """The test metrics that a trainer logged, by their names without the prefix `test/`."""
    return {name.removeprefix("test/"): value for name, value in logged.items()}


def metrics_table(metrics: Mapping[str, float]) -> str:
    """Test metrics as aligned lines."""
    return "\n".join(["test", *(f"  {name:<28}{value:10.3f}" for name, value in metrics.items())])
