"""A student that is built for its contract, and its predictions for some structures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self, cast

import torch
from ase import Atoms
from torch import Tensor, nn

from jointkd.contracts.properties import Contract
from jointkd.contracts.structures import structure, with_elements_up_to
from jointkd.structures.batch import Prediction, Structure, collate
from jointkd.students.base import Student
from jointkd.students.derivatives import predict
from jointkd.students.student_file import build


class Module(Student, Protocol):
    """A student with those methods of a torch module that contracts need."""

    def to(self, dtype: torch.dtype) -> Self: ...

    def requires_grad_(self, requires_grad: bool = True) -> Self: ...

    def named_parameters(self) -> Iterable[tuple[str, nn.Parameter]]: ...


class BuiltStudent(Contract):
    """A subclass sets `config`: `_target_`, the import path of the student's class, and the arguments to build it."""

    config: ClassVar[Mapping[str, Any]]

    def student(self, dtype: torch.dtype = torch.float64, seed: int = 3) -> Module:
        """The student with random weights of a seed, built in float64 and cast to a dtype; no weight has a gradient.

        Vectors of parameters are drawn anew: biases usually begin at zero, which would hide mistakes.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = build(dict(self.config), torch.float64, self.config["_target_"]).double()
            for parameter in module.parameters():
                if parameter.ndim == 1:
                    nn.init.normal_(parameter, std=0.3)
        return cast(Module, module.requires_grad_(False).to(dtype))

    def batch(self, student: Module, many: Sequence[Atoms]) -> Structure:
        """A batch with the student's neighbours, in its own dtype."""
        structures = [
            structure(with_elements_up_to(student.elements, atoms), student.cutoff, student.max_neighbors)
            for atoms in many
        ]
        dtype = next(iter(student.parameters())).dtype
        return collate(structures, dtype, graph_of=getattr(student, "graph_of", None))

    def predictions(self, student: Module, many: Sequence[Atoms], *rows: int) -> list["Parts"]:
        """The prediction for each structure of a batch, with the same Hessian rows of each."""
        batch = self.batch(student, many)
        return separate(predict(student, batch, torch.tensor([rows] * len(many)) if rows else None), batch)


class Parts(NamedTuple):
    """The prediction for one structure of a batch."""

    atomic_energies: Tensor  # [N] eV
    forces: Tensor  # [N, 3] eV/Å
    hessian_rows: Tensor  # [N, S, 3] eV/Å²; S is 0 where no rows were asked for


def separate(prediction: Prediction, batch: Structure) -> list[Parts]:
    """The part of each structure of a batch."""
    energies, forces, rows = prediction[:3]
    assert forces is not None
    rows = forces[:, None][:, :0] if rows is None else rows
    sizes = batch.atoms_per_structure.tolist()
    return [Parts(*parts) for parts in zip(*(field.split(sizes) for field in (energies, forces, rows)), strict=True)]


def forces_at(student: Module, batch: Structure, positions: Tensor) -> Tensor:
    """Forces [N, 3] eV/Å at positions [N, 3] Å, with the neighbours of a batch."""
    forces = predict(student, replace(batch, positions=positions)).forces
    assert forces is not None
    return forces


def displacement(batch: Structure) -> Tensor:
    """A random displacement [N, 3], always the same, of the size of 1 Å."""
    return torch.randn(batch.positions.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
