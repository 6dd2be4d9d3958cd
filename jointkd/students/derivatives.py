"""Energies, forces, stresses and Hessian rows of a student from one forward pass, by `torch.func`."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from jointkd.structures.batch import Prediction, Structure
from jointkd.students.base import Student


def predict(student: Student, batch: Structure, directions: Tensor | None = None, stress: bool = False) -> Prediction:
    """Atomic energies [N] eV, forces [N, 3] eV/Å and the Hessian along directions [N, S, 3] eV/Å².

    directions: [B, S] int64, rows of each structure's Hessian by 3 * atom + axis; or [N, S, 3], probes, whose products
    with it take the place of rows. One vector-Jacobian product serves direction s of every structure of the batch,
    because structures do not interact. For a student with a force head the Hessian is -∂F/∂R, which is multiplied from
    the left. Source: Amin 2025, eq. 5; the paper, eq. 4.
    stress: whether the stresses [B, 3, 3] eV/Å³ of a conservative student are wanted; the batch must have volumes.
    """
    if directions is None:
        prediction = answer(student, batch, batch.positions, stress)
        return Prediction(prediction.atomic_energies, prediction.forces, stress=prediction.stress)

    def differentiated(positions: Tensor) -> tuple[Tensor, list[Tensor]]:
        """-F of all coordinates [N, 3] or [B, S] of those whose rows are asked for; energies, forces and stresses."""
        prediction = answer(student, batch, positions, stress)
        besides = [prediction.atomic_energies, prediction.forces, prediction.stress]
        assert prediction.forces is not None
        chosen = prediction.forces if directions.is_floating_point() else of_rows(prediction, batch, directions)
        return -chosen, [each for each in besides if each is not None]

    _, pullback, (energies, forces, *stresses) = torch.func.vjp(differentiated, batch.positions, has_aux=True)  # type: ignore[misc]
    rows = [pullback(cotangent)[0] for cotangent in cotangents(directions, batch.positions)]
    return Prediction(energies, forces, torch.stack(rows, dim=1), stress=stresses[0] if stresses else None)


def of_rows(prediction: Prediction, batch: Structure, row_ids: Tensor) -> Tensor:
    """[B, S] forces on the coordinates of rows [B, S]."""
    assert prediction.forces is not None
    atoms = (batch.ptr[:-1, None] + row_ids // 3).flatten()
    forces_of = prediction.forces_of
    if forces_of is None or len(atoms) >= batch.num_atoms:
        forces_of = partial(torch.index_select, prediction.forces, 0)
    by_axis = forces_of(atoms).view(*row_ids.shape, 3)
    return by_axis.gather(2, (row_ids % 3)[:, :, None])[:, :, 0]


def cotangents(directions: Tensor, positions: Tensor) -> list[Tensor]:
    """By what forces are multiplied for each of the S directions: probes [N, 3], or which of the rows [B, S] it is."""
    if directions.is_floating_point():
        return list(directions.to(positions.dtype).unbind(1))
    units = torch.eye(directions.shape[1], dtype=positions.dtype, device=positions.device)
    return [unit.expand(directions.shape) for unit in units]


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
