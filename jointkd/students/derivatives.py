"""Energies, forces, stresses and Hessian rows of a student from one forward pass, by `torch.func`."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from jointkd.structures.batch import Prediction, Structure
from jointkd.students.base import Student


def predict(student: Student, batch: Structure, row_ids: Tensor | None = None, stress: bool = False) -> Prediction:
    """Atomic energies [N] eV, forces [N, 3] eV/Å and, for row_ids [B, S], Hessian rows [N, S, 3] eV/Å².

    One vector-Jacobian product serves row s of every structure of the batch, because structures do not interact.
    For a student with a force head the rows are those of -∂F/∂R. Source: Amin 2025, eq. 5; the paper, eq. 4.
    stress: whether the stresses [B, 3, 3] eV/Å³ of a conservative student are wanted; the batch must have volumes.
    """
    if row_ids is None:
        prediction = answer(student, batch, batch.positions, stress)
        return Prediction(prediction.atomic_energies, prediction.forces, stress=prediction.stress)
    atoms = (batch.ptr[:-1, None] + row_ids // 3).flatten()

    def components(positions: Tensor) -> tuple[Tensor, list[Tensor]]:
        """-F [B, S] of the coordinates whose rows are asked for, and energies, forces and stresses."""
        energies, forces, _, forces_of, stresses = answer(student, batch, positions, stress)
        assert forces is not None
        if forces_of is None or len(atoms) >= len(positions):
            forces_of = partial(torch.index_select, forces, 0)
        by_axis = forces_of(atoms).view(*row_ids.shape, 3)
        besides = [energies, forces] if stresses is None else [energies, forces, stresses]
        return -by_axis.gather(2, (row_ids % 3)[:, :, None])[:, :, 0], besides

    _, pullback, (energies, forces, *stresses) = torch.func.vjp(components, batch.positions, has_aux=True)  # type: ignore[misc]
    size, like = row_ids.shape[1], batch.positions
    cotangents = torch.eye(size, dtype=like.dtype, device=like.device)
    rows = [pullback(cotangent.expand(row_ids.shape))[0] for cotangent in cotangents]
    return Prediction(energies, forces, torch.stack(rows, dim=1), stress=stresses[0] if stresses else None)


def answer(student: Student, batch: Structure, positions: Tensor, stress: bool = False) -> Prediction:
    """The student's own prediction, with forces, and stresses where they are wanted, also where it is conservative."""
    if not student.conservative:
        return student(positions, batch)

    def energy(positions: Tensor, strain: Tensor | None) -> tuple[Tensor, Tensor]:
        inputs = (positions, batch) if strain is None else strained(positions, batch, strain)
        atomic_energies = student(*inputs).atomic_energies
        return atomic_energies.sum(), atomic_energies

    if not stress:
        gradient, atomic_energies = torch.func.grad(energy, has_aux=True)(positions, None)
        return Prediction(atomic_energies, -gradient)
    strain = positions.new_zeros(batch.num_structures, 3, 3)
    (gradient, virial), atomic_energies = torch.func.grad(energy, argnums=(0, 1), has_aux=True)(positions, strain)
    assert batch.inverse_volume is not None
    symmetric = (virial + virial.mT) / 2
    return Prediction(atomic_energies, -gradient, stress=symmetric * batch.inverse_volume[:, None, None])


def strained(positions: Tensor, batch: Structure, strain: Tensor) -> tuple[Tensor, Structure]:
    """Positions and the batch with all vectors r as r + r ε. strain: [B, 3, 3] ε of each structure."""
    by_edge = strain[batch.batch[batch.edge_index[1]]]
    shift = batch.edge_shift + torch.einsum("ea,eab->eb", batch.edge_shift, by_edge)
    moved = positions + torch.einsum("na,nab->nb", positions, strain[batch.batch])
    return moved, replace(batch, edge_shift=shift)
