"""The metrics of the paper's tables: the definition of each error, and the table of test results."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from torch import Tensor

from jointkd.structures.batch import Prediction, Structure

METRICS = {
    "energy_mae_meV_per_atom": "mean over structures of |Ê - E| / N",
    "force_mae_meV_per_A": "mean over force components of |F̂ - F|",
    "atomic_energy_mae_meV": "mean over atoms of |Ê_i - E_i of the teacher|",
    "hessian_row_mae_eV_per_A2": "mean over entries of the sampled rows of |Ĥ - H of the teacher|",
}

Values = TypeVar("Values", Tensor, np.ndarray)


def energy_error(predicted: Values, reference: Values, atoms: Values) -> Values:
    """[B] meV/atom: errors of the energies [B] eV of structures with so many `atoms` [B]."""
    return 1e3 * (predicted - reference) / atoms


def force_error(predicted: Values, reference: Values) -> Values:
    """[N, 3] meV/Å: errors of the forces [N, 3] eV/Å."""
    return 1e3 * (predicted - reference)


def prediction_errors(prediction: Prediction, batch: Structure) -> dict[str, Tensor]:
    """The signed errors of a prediction by metric, whose value is the mean of their absolute values.

    Those of atomic energies and Hessian rows are included if the batch has these labels and the prediction has rows.
    """
    assert prediction.forces is not None
    assert batch.energy is not None
    assert batch.forces is not None
    energies = batch.total_energy(prediction.atomic_energies)
    errors = {
        "energy_mae_meV_per_atom": energy_error(energies, batch.energy, batch.atoms_per_structure),
        "force_mae_meV_per_A": force_error(prediction.forces, batch.forces),
    }
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
