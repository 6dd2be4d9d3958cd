"""What students see: `Structure`, one structure or a batch of many, and what they answer: `Prediction`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from jointkd.errors import DataError
from jointkd.structures.neighbors import Neighbors

if TYPE_CHECKING:
    from torch_geometric.data import Data


class Precomputed(Protocol):
    """What a student derives from the neighbour list alone, such as an order of edges or groups of them.

    It must hold no positions and no shifts: those of its structure may be replaced, as under a strain.
    """

    def to(self, target: torch.device) -> "Precomputed": ...

    def pin_memory(self) -> "Precomputed": ...


@dataclass(frozen=True)
class MicroBatch:
    """What a micro-batch, a part of a batch, must know of the whole batch, which all processes share."""

    num_structures: int  # in the whole batch, of all processes
    num_atoms: int  # in the whole batch, of all processes
    parts: int  # micro-batches that a process usually takes per optimiser step
    last: bool  # whether the optimiser steps after this one


@dataclass(frozen=True)
class Real:
    """How many of the atoms and structures of a padded batch are real; they come first."""

    atoms: int
    structures: int


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure, or a batch of B structures; N and E count the atoms and edges of all of them.

    Nothing changes a structure in place: `dataclasses.replace` makes another one that shares the other fields.
    """

    atomic_numbers: Tensor  # [N] int64
    positions: Tensor  # [N, 3] Å
    edge_index: Tensor  # [2, E] int64, source and target atom of every pair within the cutoff, in both directions
    edge_shift: Tensor  # [E, 3] Å; the edge's vector is positions[source] + shift - positions[target]
    edge_reverse: Tensor  # [E] int64, position of the edge that goes back
    batch: Tensor  # [N] int64, structure of each atom
    ptr: Tensor  # [B + 1] int64, first atom of each structure, then N
    energy: Tensor | None = None  # [B] eV, reference total minus the per-element reference energies
    forces: Tensor | None = None  # [N, 3] eV/Å, reference
    stress: Tensor | None = None  # [B, 3, 3] eV/Å³, reference, positive under tension
    inverse_volume: Tensor | None = None  # [B] 1/Å³ of the cells, where there is a stress; 0 for padding
    from_teacher: Tensor | None = None  # [B, 2] bool, whether each of COMPLETED is the teacher's, for want of others
    teacher_atomic_energies: Tensor | None = None  # [N] eV, on the zero of `energy`
    teacher_energy_spread: Tensor | None = None  # [N] eV, standard deviation over an ensemble's atomic energies
    hessian_rows: Tensor | None = None  # [N, S, 3] eV/Å², +∂²E/∂R∂R of the teacher along direction s of its structure
    row_ids: Tensor | None = None  # [B, S] int64, 3 * atom + axis of each row, the atom counted within its structure
    probes: Tensor | None = None  # [N, S, 3] instead of row_ids: vectors, of length one in each structure
    whole: MicroBatch | None = None  # the batch that this is a part of, under gradient accumulation
    real: Real | None = None  # what of the batch is no padding; None: all
    graph: Precomputed | None = None  # what the student derives from the neighbour list, made by the loader

    @classmethod
    def from_arrays(
        cls, numbers: np.ndarray, positions: np.ndarray, neighbors: Neighbors, **labels: Any
    ) -> "Structure":
        """One structure. numbers [N] int64; positions [N, 3] Å; labels: the tensors from `energy` to `probes`."""
        count = len(numbers)
        return cls(
            atomic_numbers=torch.from_numpy(numbers),
            positions=torch.from_numpy(positions),
            edge_index=neighbors.edge_index,
            edge_shift=neighbors.edge_shift,
            edge_reverse=neighbors.edge_reverse,
            batch=torch.zeros(count, dtype=torch.int64),
            ptr=torch.tensor([0, count]),
            **labels,
        )

    @classmethod
    def from_vectors(cls, numbers: np.ndarray, positions: np.ndarray, neighbors: Neighbors) -> "Structure":
        """One structure by the vectors of its edges, which are differences in float64. See `from_arrays`.

        Differences of float32 positions would lose a digit with every decade of the distance from the origin. Students
        depend on vectors of edges alone (`Student`), so the vectors are given as shifts between atoms at the origin.
        """
        (source, target), places = neighbors.edge_index, torch.from_numpy(positions)
        vectors = places[source] + neighbors.edge_shift - places[target]
        return cls.from_arrays(numbers, np.zeros_like(positions), neighbors._replace(edge_shift=vectors))

    @classmethod
    def from_pyg(cls, data: "Data", cutoff: float | None = None, max_neighbors: int | None = None) -> "Structure":
        """The structure of a torch_geometric `Data`; see `structures.pyg.from_pyg`."""
        from jointkd.structures.pyg import from_pyg

        return from_pyg(data, cutoff, max_neighbors)

    def to_pyg(self) -> "Data":
        """A torch_geometric `Data` of the same tensors; see `structures.pyg.to_pyg`."""
        from jointkd.structures.pyg import to_pyg

        return to_pyg(self)

    @property
    def num_atoms(self) -> int:
        """N, of all structures together."""
        return self.positions.shape[0]  # `len` would fix the number in a trace

    @property
    def num_structures(self) -> int:
        """B."""
        return self.ptr.shape[0] - 1

    @property
    def real_atoms(self) -> int:
        """N without padding."""
        return self.num_atoms if self.real is None else self.real.atoms

    @property
    def real_structures(self) -> int:
        """B without padding."""
        return self.num_structures if self.real is None else self.real.structures

    @property
    def directions(self) -> Tensor | None:
        """Along which `hessian_rows` are: `row_ids` or `probes`."""
        return self.row_ids if self.probes is None else self.probes

    @property
    def atoms_per_structure(self) -> Tensor:
        """[B] int64."""
        return self.ptr.diff()

    def total_energy(self, atomic_energies: Tensor) -> Tensor:
        """Sums of atomic energies. atomic_energies [N] → [B] eV. Source: the paper, eq. 1."""
        return atomic_energies.new_zeros(self.num_structures).index_add(0, self.batch, atomic_energies)

    def structure(self, number: int) -> "Structure":
        """One structure of a batch, without what was made for the batch (`whole`, `real`, `graph`)."""
        first, end = self.ptr[number : number + 2].tolist()
        edges = ((self.edge_index[1] >= first) & (self.edge_index[1] < end)).nonzero()[:, 0]
        parts = dict.fromkeys(OF_ATOMS, slice(first, end)) | dict.fromkeys(OF_STRUCTURES, slice(number, number + 1))
        given = {name: value for name in parts if (value := getattr(self, name)) is not None}
        fields: dict[str, Any] = {name: value[parts[name]] for name, value in given.items()}
        before = edges[0] if len(edges) else 0  # edges of one structure are together
        fields |= {
            "edge_index": self.edge_index[:, edges] - first,
            "edge_shift": self.edge_shift[edges],
            "edge_reverse": self.edge_reverse[edges] - before,
        }
        size = torch.tensor([0, end - first], device=self.ptr.device)
        return Structure(**fields, batch=torch.zeros_like(fields["atomic_numbers"]), ptr=size)

    def to(self, target: torch.device | str | torch.dtype) -> "Structure":
        """All tensors on a device, or all floating-point ones in a dtype. Lightning calls it with its device."""
        if isinstance(target, torch.dtype):
            return self._with_each(lambda tensor: tensor.to(target) if tensor.is_floating_point() else tensor)
        device = torch.device(target)
        moved = self._with_each(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"))
        return moved if self.graph is None else replace(moved, graph=self.graph.to(device))

    def pin_memory(self) -> "Structure":
        """All tensors in page-locked memory, from which a GPU copies while the CPU goes on. `DataLoader` calls it."""
        pinned = self._with_each(torch.Tensor.pin_memory)
        return pinned if self.graph is None else replace(pinned, graph=self.graph.pin_memory())

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> "Structure":
        """Every tensor changed."""
        values = ((name, getattr(self, name)) for name in TENSORS)
        changed: dict[str, Any] = {name: change(value) for name, value in values if value is not None}
        return replace(self, **changed)


TENSORS = tuple(field.name for field in fields(Structure) if field.name not in ("whole", "real", "graph"))
OF_ATOMS = (  # whose first dimension counts atoms
    *("atomic_numbers", "positions", "forces"),
    *("teacher_atomic_energies", "teacher_energy_spread", "hessian_rows", "probes"),
)
OF_STRUCTURES = (  # whose first dimension counts structures
    *("energy", "stress", "inverse_volume", "from_teacher", "row_ids"),
)
COMPLETED = ("energies", "forces")  # reference labels that a teacher may complete, by the columns of `from_teacher`
CONCATENATED = tuple(name for name in TENSORS if name not in ("batch", "ptr"))


class Prediction(NamedTuple):
    """What a student predicts for a batch. `forces` None: conservative, the forces are then -∂E/∂R.

    A student with a force head may also give `forces_of`: the forces [M, 3] of some atoms [M], computed from only what
    they depend on. A row of the Hessian is the derivative of one atom's force, and is then cheaper.
    """

    atomic_energies: Tensor  # [N] eV
    forces: Tensor | None = None  # [N, 3] eV/Å
    hessian_rows: Tensor | None = None  # [N, S, 3] eV/Å²
    forces_of: Callable[[Tensor], Tensor] | None = None
    stress: Tensor | None = None  # [B, 3, 3] eV/Å³, (1/V) ∂E/∂ε by a symmetric strain
    features: Tensor | None = None  # [N, F] of atoms, from which the last linear layer of the student reads energies


def collate(
    structures: Sequence[Structure],
    dtype: torch.dtype = torch.float32,
    graph_of: Callable[[Structure], Precomputed] | None = None,
) -> Structure:
    """One batch of structures (or batches), its floating-point fields in `dtype`.

    graph_of: called once with the finished batch, whose `graph` is what it returns. Raises DataError where some of the
    structures have a label that others lack.
    """
    atoms = torch.tensor([structure.num_atoms for structure in structures])
    edges = torch.tensor([structure.edge_index.shape[1] for structure in structures])
    joined: dict[str, Any] = {}
    for name in CONCATENATED:
        values = [value for structure in structures if (value := getattr(structure, name)) is not None]
        if values and len(values) < len(structures):
            raise DataError(
                f"{name}: {len(values)} of the {len(structures)} structures of a batch have it",
                "give it for all structures, or for none",
            )
        if values:
            field = torch.cat(values, dim=-1 if name == "edge_index" else 0)
            joined[name] = field.to(dtype) if field.is_floating_point() else field
    joined["edge_index"] += torch.repeat_interleave(first(atoms), edges)
    joined["edge_reverse"] += torch.repeat_interleave(first(edges), edges)
    counts = torch.cat([structure.ptr for structure in structures]).diff()
    counts = counts[counts > 0]  # the others lead from the end of one structure's `ptr` to the beginning of the next
    ptr = torch.cat([first(counts), counts.sum(0, keepdim=True)])
    batch = Structure(**joined, batch=torch.repeat_interleave(counts), ptr=ptr)
    return batch if graph_of is None else replace(batch, graph=graph_of(batch))


def first(counts: Tensor) -> Tensor:
    """[B] where each structure's entries begin, of how many it has."""
    return counts.cumsum(0) - counts
