"""What the prior art did and no option does: each function makes the program do so, in this process."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointkd.commands import train
from jointkd.data import dataset
from jointkd.structures.batch import Prediction, Structure
from jointkd.students import painn
from jointkd.students.derivatives import predict
from jointkd.training import module
from jointkd.training.module import DistillationModule

STEP = 1e-4  # Å, of its one-sided differences
GRADIENT_WEIGHT = 5.0  # of its extra term for students with a force head


def rows_anew() -> None:
    """Sample the Hessian rows of every step without regard to those sampled before."""

    def sample_rows(stored: int, count: int, seed: int, key: str, epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch, int(key[:16], 16)]).choice(stored, count, replace=False)

    dataset.sample_rows = sample_rows


def torch_layer_norm() -> None:
    painn.LayerNorm = torch.nn.LayerNorm


def no_scale_factors() -> None:
    train.fit_scales = lambda *_: 0


def one_sided_differences() -> None:
    """Training compares the teacher's rows with columns of the student by one-sided differences of its forces."""

    def by_differences(student: Any, batch: Structure, row_ids: Tensor | None = None) -> Prediction:
        if row_ids is None or not student.training:
            return predict(student, batch, row_ids)
        return differences(student, batch, row_ids)

    module.predict = by_differences


def differences(student: Any, batch: Structure, row_ids: Tensor) -> Prediction:
    """A prediction whose rows [N, S, 3] are (F(R) - F(R + h e)) / h, which are columns of -∂F/∂R."""
    here = predict(student, batch)
    assert here.forces is not None
    columns = []
    for ids in row_ids.T:
        positions = batch.positions.clone()
        positions.view(-1)[3 * batch.ptr[:-1] + ids] += STEP
        there = predict(student, replace(batch, positions=positions)).forces
        assert there is not None
        columns.append((here.forces - there) / STEP)
    return here._replace(hessian_rows=torch.stack(columns, dim=1))


def gradient_term() -> None:
    """The loss has a further term, the mean over atoms of ‖-∂Ê/∂R - F‖."""
    step = DistillationModule.training_step

    def with_gradient(self: DistillationModule, batch: Structure, batch_idx: int) -> Tensor:
        def energy(positions: Tensor) -> Tensor:
            return self.student(positions, batch).atomic_energies.sum()

        error = torch.linalg.vector_norm(torch.func.grad(energy)(batch.positions) + batch.forces, dim=1)
        return step(self, batch, batch_idx) + GRADIENT_WEIGHT * error.mean()

    DistillationModule.training_step = with_gradient  # type: ignore[method-assign]
