"""Energies, forces and Hessian rows of a student from one forward pass, by `torch.func`."""

from typing import Any, Protocol

import torch
from torch import Tensor

from jointkd.structure import Prediction


class Student(Protocol):
    """What every student is: positions [N, 3] Å and a batch in, a `Prediction` out.

    A conservative student leaves `forces` None, and they are its energy's negative gradient. cutoff: Å, of its
    neighbours; elements: the highest atomic number it knows; max_neighbors: of each atom, None for all.
    """

    conservative: bool
    cutoff: float
    elements: int
    max_neighbors: int | None

    def __call__(self, positions: Tensor, structure: Any) -> Prediction: ...


def predict(student: Student, batch: Any, row_ids: Tensor | None = None) -> Prediction:
    """Atomic energies [N] eV, forces [N, 3] eV/Å and, for row_ids [B, S], Hessian rows [N, S, 3] eV/Å².

    One vector-Jacobian product serves row s of every structure of the batch, because structures do not interact.
    For a student with a force head the rows are those of -∂F/∂R. Source: Amin 2025, eq. 5; the paper, eq. 4.
    """

    def energy(positions: Tensor) -> tuple[Tensor, Tensor]:
        atomic_energies = student(positions, batch).atomic_energies
        return atomic_energies.sum(), atomic_energies

    def forces(positions: Tensor) -> tuple[Tensor, Tensor]:
        if student.conservative:
            gradient, atomic_energies = torch.func.grad(energy, has_aux=True)(positions)
            return -gradient, atomic_energies
        prediction = student(positions, batch)
        assert prediction.forces is not None
        return prediction.forces, prediction.atomic_energies

    if row_ids is None:
        values, atomic_energies = forces(batch.positions)
        return Prediction(atomic_energies, values)
    values, pullback, atomic_energies = torch.func.vjp(forces, batch.positions, has_aux=True)  # type: ignore[misc]
    rows = [pullback(-pick(batch, ids))[0] for ids in row_ids.T]
    return Prediction(atomic_energies, values, torch.stack(rows, dim=1))


def pick(batch: Any, ids: Tensor) -> Tensor:
    """The cotangent [N, 3] that is one at coordinate ids[b] (3 * atom + axis) of every structure b, else zero."""
    cotangent = torch.zeros_like(batch.positions)
    return cotangent.view(-1).index_fill(0, 3 * batch.ptr[:-1] + ids, 1.0).view_as(cotangent)
