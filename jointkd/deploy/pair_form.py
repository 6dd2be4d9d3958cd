"""A student as a function of pairs alone: the form in which programs that move atoms call it."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from jointkd.structures.batch import Prediction, Structure
from jointkd.students.base import Student
from jointkd.students.uncertainty import TraceableUncertainty


class Evaluated(NamedTuple):
    """Energies, forces and virial of one structure, and how uncertain its forces are."""

    atomic_energies: Tensor  # [N] eV, relative to the reference energies
    forces: Tensor  # [N, 3] eV/Å
    virial: Tensor  # [3, 3] eV, ∂E/∂ε by a symmetric strain; zero for a student with a force head
    force_uncertainty: Tensor | None = None  # [N] eV/Å, see `ForceUncertainty`; None where the form has none


Inputs = tuple[Tensor, Tensor, Tensor, Tensor]  # vectors of pairs, sources, targets, atomic numbers


class PairForm(Protocol):
    """The vectors [P, 3] Å of pairs from target [P] to source [P], and atomic numbers [N] → what `Evaluated` takes."""

    def __call__(self, vectors: Tensor, source: Tensor, target: Tensor, atomic_numbers: Tensor) -> tuple[Any, ...]: ...


class EagerForm:
    """Any student, called as it is. uncertainty: of its forces, where it is known."""

    def __init__(self, student: Student, uncertainty: TraceableUncertainty | None = None) -> None:
        self.student, self.uncertainty = student, uncertainty

    def __call__(self, vectors: Tensor, source: Tensor, target: Tensor, atomic_numbers: Tensor) -> Evaluated:
        """See `PairForm`."""
        if not self.student.conservative:
            found = self.predict(vectors, source, target, atomic_numbers)
            assert found.forces is not None
            results = Evaluated(found.atomic_energies, found.forces, vectors.new_zeros(3, 3))
        else:
            with torch.enable_grad():
                vectors = vectors.detach().requires_grad_()
                found = self.predict(vectors, source, target, atomic_numbers)
                results = differentiated(found.atomic_energies, vectors, source, target)
        if self.uncertainty is None or found.features is None:
            return results
        return results._replace(force_uncertainty=self.uncertainty(found.features, atomic_numbers))

    def predict(self, vectors: Tensor, source: Tensor, target: Tensor, atomic_numbers: Tensor) -> Prediction:
        """What the student itself predicts."""
        structure = structure_of(vectors, source, target, atomic_numbers)
        return self.student(structure.positions, structure)


def structure_of(vectors: Tensor, source: Tensor, target: Tensor, atomic_numbers: Tensor) -> Structure:
    """The structure of these pairs: atoms at the origin, between which the vectors are shifts."""
    pairs, atoms = vectors.shape[0], atomic_numbers.shape[0]
    number = torch.arange(pairs, device=source.device)
    return Structure(
        atomic_numbers=atomic_numbers,
        positions=vectors.new_zeros(atoms, 3),
        edge_index=torch.stack([torch.cat([source, target]), torch.cat([target, source])]),
        edge_shift=torch.cat([vectors, -vectors]),
        edge_reverse=torch.cat([number + pairs, number]),
        batch=torch.zeros_like(atomic_numbers),
        ptr=torch.tensor([0, atoms], device=source.device),
    )


def differentiated(energies: Tensor, vectors: Tensor, source: Tensor, target: Tensor) -> Evaluated:
    """Forces and virial from the one gradient of the energy by the vectors of pairs."""
    gradient = pair_gradient(energies, vectors)
    virial = vectors.detach().T @ gradient
    forces = pair_forces(gradient, source, target, energies.shape[0])
    return Evaluated(energies.detach(), forces, (virial + virial.T) / 2)


def pair_gradient(energies: Tensor, vectors: Tensor) -> Tensor:
    """The gradient [P, 3] eV/Å of the sum of atomic energies [N] eV by the vectors [P, 3] Å of pairs."""
    total = energies.sum()
    if not total.requires_grad:  # nothing depends on the vectors where there are none
        total = total + 0 * vectors.sum()
    return torch.autograd.grad(total, vectors)[0]


def pair_forces(gradient: Tensor, source: Tensor, target: Tensor, atoms: int) -> Tensor:
    """Forces [N, 3] eV/Å from the gradient [P, 3] eV/Å by the vectors of pairs."""
    forces = gradient.new_zeros(atoms, 3).index_add(0, target, gradient)
    return forces.index_add(0, source, gradient, alpha=-1)
