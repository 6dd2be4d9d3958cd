"""Energies, forces, virial and Hessian rows of a student from one forward pass, by `torch.func`."""

from dataclasses import replace
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
    cotangents = torch.eye(row_ids.shape[1]).to(batch.positions)
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


def predict_with_virial(student: Student, batch: Structure) -> tuple[Prediction, Tensor]:
    """The prediction of a conservative student for one structure, and its virial, from one gradient.

    The virial ∂E/∂ε [3, 3] eV is the derivative by the symmetric strain ε under which positions and shifts of edges
    become R (1 + ε). Both are linear in ε, so that it is the sum of each times the gradient by it.
    """

    def energy(positions: Tensor, edge_shift: Tensor) -> tuple[Tensor, Tensor]:
        atomic_energies = student(positions, replace(batch, edge_shift=edge_shift)).atomic_energies
        return atomic_energies.sum(), atomic_energies

    lengths = batch.positions, batch.edge_shift
    gradients, atomic_energies = torch.func.grad(energy, argnums=(0, 1), has_aux=True)(*lengths)
    virial = torch.stack([length.T @ gradient for length, gradient in zip(lengths, gradients, strict=True)]).sum(0)
    return Prediction(atomic_energies, -gradients[0]), (virial + virial.T) / 2
