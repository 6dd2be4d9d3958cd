"""The two values that everything exchanges: a structure (one, or a batch of many) and a prediction.

Fields of a `Structure`; in a batch of B structures N and E count all atoms and edges:

    atomic_numbers         [N]        int64
    positions              [N, 3]     Å
    cell                   [B, 3, 3]  Å, rows are lattice vectors, zero where not periodic
    pbc                    [B, 3]     bool
    edge_index             [2, E]     source atom, target atom; every pair within the cutoff, both directions
    edge_shift             [E, 3]     Å, so that the edge's vector is positions[source] + shift - positions[target]
    edge_reverse           [E]        position of the edge that goes back
    energy                 [B]        eV, reference total minus the per-element reference energies
    forces                 [N, 3]     eV/Å, reference
    key, group             str        content hash; what a split must not cut (molecule, material, trajectory)

and, where a teacher's labels were joined:

    teacher_atomic_energies  [N]        eV, on the zero of `energy`
    teacher_energy_spread    [N]        eV, of an ensemble: standard deviation of its members' atomic energies
    hessian_rows             [N, S, 3]  eV/Å², +∂²E/∂R∂R, row s of the atom's structure
    row_ids                  [B, S]     3 * atom + axis of each row, atom counted within its structure

and, where a training step takes its batch in parts, `piece`: a `Piece`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data


class Structure(Data):
    """Atoms in space with their neighbours and, where known, their reference energy and forces."""

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """What the entries of a field are raised by for each structure before it in a batch."""
        return self.num_edges if key == "edge_reverse" else super().__inc__(key, value, *args, **kwargs)


class Piece(NamedTuple):
    """What a part of a batch must know of the whole one, which all processes share."""

    structures: int
    atoms: int
    parts: int  # that a process usually takes a batch in
    last: bool  # the step ends with it


class Prediction(NamedTuple):
    """What a student says of a batch. `forces` None: conservative, to be had as -∂E/∂R.

    A student with a force head may also give `forces_of`: the forces [M, 3] of some atoms [M], made of as little as
    they depend on. A row of the Hessian is the derivative of one atom's force, and is then cheaper.
    """

    atomic_energies: Tensor  # [N] eV
    forces: Tensor | None = None  # [N, 3] eV/Å
    hessian_rows: Tensor | None = None  # [N, S, 3] eV/Å²
    forces_of: Callable[[Tensor], Tensor] | None = None


def collate(structures: list[Structure], dtype: torch.dtype = torch.float32) -> Any:
    """One batch of many structures with the same fields, its floating-point fields in `dtype`.

    As `Batch.from_data_list`, in a quarter of the time: slices to take a batch apart again are not made.
    """
    atoms = torch.tensor([structure.num_nodes for structure in structures])
    edges = torch.tensor([structure.num_edges for structure in structures])
    raised_by = {"edge_index": torch.repeat_interleave(first(atoms), edges)}
    raised_by["edge_reverse"] = torch.repeat_interleave(first(edges), edges)
    batch: Any = Batch(_base_cls=Structure)
    for name, example in structures[0].to_dict().items():
        values: Any = [structure[name] for structure in structures]
        if isinstance(example, Tensor):
            field = torch.cat(values, dim=-1 if name == "edge_index" else 0)
            if name in raised_by:
                field += raised_by[name]
            values = field.to(dtype) if field.is_floating_point() else field
        batch[name] = values
    batch.num_nodes = int(atoms.sum())
    batch.batch = torch.repeat_interleave(atoms)
    batch.ptr = torch.cat([first(atoms), atoms.sum(0, keepdim=True)])
    return batch


def first(counts: Tensor) -> Tensor:
    """[B] where each structure's entries begin, of how many it has."""
    return counts.cumsum(0) - counts


def total_energy(atomic_energies: Tensor, batch: Any) -> Tensor:
    """Sums of atomic energies. atomic_energies [N] → [B] eV. Source: the paper, eq. 1."""
    sums = atomic_energies.new_zeros(batch.ptr.numel() - 1)
    return sums.index_add(0, batch.batch, atomic_energies)


def atoms_per_structure(batch: Any) -> Tensor:
    """[B] atoms of each structure of a batch."""
    return batch.ptr.diff()
