"""Pair potentials in the place of students, with the faults that gates are to find."""

from collections.abc import Callable

import torch
from torch import Tensor

from jointkd.deploy.model import Model
from jointkd.deploy.pair_form import Evaluated, differentiated
from jointkd.students.student_file import SavedStudent

IODINE = {53: -100.0}


def morse(distance: Tensor, depth: float = 1.5, width: float = 1.8, place: float = 2.67) -> Tensor:
    """A bond of iodine, eV."""
    return depth * ((1 - torch.exp(-width * (distance - place))) ** 2 - 1)


def collapsing(distance: Tensor) -> Tensor:
    """A bond that ends in an abyss instead of a wall, eV."""
    return -8 / (1 + (distance / 1.5) ** 4)


class PairPotential:
    """A `PairForm` of one function of the distance; `fault` changes the vectors, energies or forces."""

    def __init__(self, function: Callable[[Tensor], Tensor], fault: str = "") -> None:
        self.function, self.fault = function, fault

    def __call__(self, vectors: Tensor, source: Tensor, target: Tensor, numbers: Tensor) -> Evaluated:
        vectors = vectors.detach().requires_grad_()
        with torch.enable_grad():
            pairs = self.function((vectors**2).sum(1).add(1e-12).sqrt())
            if self.fault == "direction":
                pairs = pairs * (1 + 0.1 * vectors[:, 0] ** 2)
            atomic = vectors.new_zeros(len(numbers)).index_add(0, target, pairs / 2).index_add(0, source, pairs / 2)
            if self.fault == "size":
                atomic = atomic * (1 + 0.01 * len(numbers))
            results = differentiated(atomic, vectors, source, target)
        if self.fault == "driven":  # a torque about z, which no energy has
            torque = 0.1 * torch.linalg.cross(vectors.new_tensor([[0.0, 0.0, 1.0]]), vectors.detach())
            driven = results.forces.index_add(0, source, torque).index_add(0, target, torque, alpha=-1)
            return results._replace(forces=driven)
        return results


def model_of(
    function: Callable[[Tensor], Tensor] = morse, fault: str = "", dtype: torch.dtype = torch.float64
) -> Model:
    """A student of iodine with this potential."""
    saved = SavedStudent({}, {}, IODINE, {})
    return Model(PairPotential(function, fault), 6.0, None, True, 83, saved, "cpu", dtype)  # type: ignore[arg-type]
