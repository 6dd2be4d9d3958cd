"""Energies, forces and Hessian rows of a student from one forward pass, by `torch.func`."""

from functools import partial

import torch
from torch import Tensor

from jointkd.structures.batch import Prediction, Structure
from jointkd.students.base import Student


def predict(student: Student, batch: Structure, row_ids: Tensor | None = None) -> Prediction:
    """Atomic energies [N] eV, forces [N, 3] eV/Å and, for row_ids [B, S], Hessian rows [N, S, 3] eV/Å².

    One vector-Jacobian product serves row s of every structure of the batch, because structures do not interact.
    For a student with a force head the rows are those of -∂F/∂R. Source: Amin 2025, eq. 5; the paper, eq. 4.
    """
    if row_ids is None:
        prediction = answer(student, batch, batch.positions)
        return Prediction(prediction.atomic_energies, prediction.forces)
    atoms = (batch.ptr[:-1, None] + row_ids // 3).flatten()

    def components(positions: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """-F [B, S] of the coordinates whose rows are asked for."""
        energies, forces, _, forces_of = answer(student, batch, positions)
        assert forces is not None
        if forces_of is None or len(atoms) >= len(positions):
            forces_of = partial(torch.index_select, forces, 0)
        by_axis = forces_of(atoms).view(*row_ids.shape, 3)
        return -by_axis.gather(2, (row_ids % 3)[:, :, None])[:, :, 0], (energies, forces)

    _, pullback, (energies, forces) = torch.func.vjp(components, batch.positions, has_aux=True)  # type: ignore[misc]
    size, like = row_ids.shape[1], batch.positions
    cotangents = torch.eye(size, dtype=like.dtype, device=like.device)
    rows = [pullback(cotangent.expand(row_ids.shape))[0] for cotangent in cotangents]
    return Prediction(energies, forces, torch.stack(rows, dim=1))


def answer(student: Student, batch: Structure, positions: Tensor) -> Prediction:
    """The student's own prediction, with forces also where it is conservative."""
    if not student.conservative:
        return student(positions, batch)

    def energy(positions: Tensor) -> tuple[Tensor, Tensor]:
        atomic_energies = student(positions, batch).atomic_energies
        return atomic_energies.sum(), atomic_energies

    gradient, atomic_energies = torch.func.grad(energy, has_aux=True)(positions)
    return Prediction(atomic_energies, -gradient)
