"""Conversion from and to torch_geometric `Data`; nothing else in the package needs torch_geometric."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jointkd.errors import DataError, MissingExtra
from jointkd.structures.batch import TENSORS, Structure
from jointkd.structures.neighbors import neighbors

if TYPE_CHECKING:
    from torch_geometric.data import Data

PYG_NAMES = {"atomic_numbers": "z", "positions": "pos"}  # the other fields keep their names
EDGES = ("edge_index", "edge_shift", "edge_reverse")


def from_pyg(data: "Data", cutoff: float | None = None, max_neighbors: int | None = None) -> Structure:
    """One structure of `pos` [N, 3] Å and `z` or `atomic_numbers` [N]; on the CPU, in the dtype of `pos`.

    Taken over where they are there: `energy` or `y` [1] eV (relative to the reference energies), `forces` or `force`
    [N, 3] eV/Å, and the teacher's labels under the names of `Structure`. `edge_index` is taken over together with
    `edge_shift` and `edge_reverse`, as `to_pyg` writes them, and only then: what other edges leave out, and how they
    count their shifts, cannot be known. Else all neighbours within `cutoff` (Å) are found, with `cell` [3, 3] Å (rows
    are lattice vectors) and `pbc` [3], where there are any; max_neighbors: see `neighbors`. Raises DataError.
    """
    given = {name: value.detach().cpu() for name, value in data.to_dict().items() if isinstance(value, Tensor)}
    positions = required(given, ("pos",), "the positions in Å")
    numbers = required(given, ("z", "atomic_numbers"), "the atomic numbers").long()
    count = len(positions)
    check_shape("pos", positions, (count, 3))
    check_shape("z", numbers, (count,))
    ptr = given.get("ptr", torch.tensor([0, count]))
    batch = given.get("batch", torch.zeros(count, dtype=torch.int64))
    labels: dict[str, Any] = {name: given[name] for name in TENSORS[TENSORS.index("energy") :] if name in given}
    if "energy" not in labels and "y" in given:
        labels["energy"] = given["y"]
    if "forces" not in labels and "force" in given:
        labels["forces"] = given["force"]
    if "energy" in labels:
        labels["energy"] = labels["energy"].flatten()
        check_shape("energy (or y)", labels["energy"], (len(ptr) - 1,))
    if "forces" in labels:
        check_shape("forces", labels["forces"], (count, 3))
    if all(name in given for name in EDGES):
        edges: dict[str, Any] = {name: given[name] for name in EDGES}
    else:
        edges = found_edges(given, positions, batch, cutoff, max_neighbors)
    edges["edge_shift"] = edges["edge_shift"].to(positions.dtype)
    return Structure(numbers, positions, **edges, batch=batch, ptr=ptr, **labels)


def found_edges(
    given: dict[str, Tensor], positions: Tensor, batch: Tensor, cutoff: float | None, max_neighbors: int | None
) -> dict[str, Tensor]:
    """The edges within the cutoff, by their names in `Structure`."""
    if cutoff is None:
        raise DataError(
            f"the Data must have {', '.join(EDGES)} where no cutoff is given", "give the student's cutoff in Å"
        )
    if batch.any():
        raise DataError("the Data must be a single structure", "convert each of batch.to_data_list(), then collate")
    cell = given.get("cell", torch.zeros(3, 3)).reshape(3, 3).double().numpy()
    if "pbc" not in given and cell.any():
        raise DataError(
            "a Data with a cell must say where it is periodic", "set pbc to [True, True, True], or remove the cell"
        )
    pbc = given.get("pbc", torch.zeros(3)).bool().flatten().expand(3).numpy()
    if pbc.any() and not np.linalg.norm(cell[pbc], axis=1).all():
        raise DataError(
            "a periodic Data must have a cell", "set cell to the lattice vectors in Å, as rows, or pbc to False"
        )
    return neighbors(positions.double().numpy(), cell, pbc, cutoff, max_neighbors)._asdict()


def to_pyg(structure: Structure) -> "Data":
    """All tensors of a structure or batch as a torch_geometric `Data`: `z`, `pos`, the others under their own names.

    `batch` and `ptr` are left out of a single structure, as in torch_geometric. Raises MissingExtra.
    """
    try:
        from torch_geometric.data import Data
    except ImportError as error:
        raise MissingExtra("torch_geometric is not installed", "pip install 'jointkd[pyg]'") from error
    single = structure.num_structures == 1
    values: dict[str, Any] = {
        PYG_NAMES.get(name, name): getattr(structure, name)
        for name in TENSORS
        if getattr(structure, name) is not None and not (single and name in ("batch", "ptr"))
    }
    return Data(**values, num_nodes=structure.num_atoms)


def required(given: dict[str, Tensor], names: tuple[str, ...], meaning: str) -> Tensor:
    """The first of some fields that is there."""
    for name in names:
        if name in given:
            return given[name]
    raise DataError(f"the Data must have {' or '.join(names)}", f"set {names[0]} to {meaning}")


def check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raise DataError unless a field has its shape."""
    if tuple(value.shape) != shape:
        raise DataError(f"{name} of the Data must have shape {list(shape)}, not {list(value.shape)}", "correct it")
