"""Neighbours within a cutoff, periodic or not: found as pairs, used as edges in both directions."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

from jointkd.errors import DataError
from jointkd.structures.cells import cell_fault


class Neighbors(NamedTuple):
    """All pairs within a cutoff as edges in both directions, sorted by target, then source."""

    edge_index: Tensor  # [2, E] source, target
    edge_shift: Tensor  # [E, 3] Å; the edge's vector is positions[source] + shift - positions[target]
    edge_reverse: Tensor  # [E] position of the edge that goes back, through the opposite image


class Pairs(NamedTuple):
    """All pairs within a cutoff, each once, sorted: what of neighbours is worth storing."""

    atoms: np.ndarray  # [P, 2] the first is not larger than the second
    images: np.ndarray  # [P, 3] lattice vectors by which the second is moved; [0, 3] where nobody is


def neighbors(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float, max_neighbors: int | None = None
) -> Neighbors:
    """The edges that are at most `cutoff` (Å) long. positions [N, 3] Å; cell [3, 3] Å; pbc [3].

    max_neighbors: keep a pair only if its earlier atom is among so many nearest of its later one, as the prior
    art does. Energies then jump when neighbours change rank, and depend on the order of atoms.
    """
    return edges(find_pairs(positions, cell, pbc, cutoff, max_neighbors), cell)


def find_pairs(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float, max_neighbors: int | None = None
) -> Pairs:
    """The pairs that are at most `cutoff` (Å) apart; see `neighbors`. Raises DataError for a cell that is not sound."""
    if fault := cell_fault(positions, cell, pbc, cutoff):
        raise DataError(f"the neighbours of a structure cannot be found: {fault}", "correct its cell and positions")
    box = np.where(np.asarray(pbc)[:, None], cell, 0.0)
    search = NeighborList(cutoff=cutoff, full_list=False)
    first, second, images = search.compute(
        points=np.asarray(positions, dtype=np.float64), box=box, periodic=np.asarray(pbc), quantities="ijS"
    )
    back = (first > second) | ((first == second) & backward(images))
    first, second = np.where(back, second, first), np.where(back, first, second)
    images = np.where(back[:, None], -images, images)
    order = np.lexsort((*images.T, second, first))
    atoms, images = np.stack([first, second], axis=1)[order].astype(np.int64), images[order].astype(np.int64)
    if not np.any(pbc):
        images = images[:0]
    if max_neighbors is not None:
        kept = decided_by_nearest(positions, box, atoms, images, max_neighbors)
        atoms, images = atoms[kept], images[kept] if len(images) else images
    return Pairs(atoms, images)


def backward(images: np.ndarray) -> np.ndarray:
    """[P] whether the last component of an image that is not zero is negative."""
    x, y, z = images.T
    return (z < 0) | ((z == 0) & ((y < 0) | ((y == 0) & (x < 0))))


def lengths(pairs: Pairs, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """[P] Å: how far apart the atoms of each pair are."""
    first, second = pairs.atoms.T
    vectors = positions[second] - positions[first]
    return np.linalg.norm(vectors + pairs.images @ cell if len(pairs.images) else vectors, axis=1)


def edges(pairs: Pairs, cell: np.ndarray) -> Neighbors:
    """Both directions of each pair. cell [3, 3] Å."""
    source, target, shift, reverse = both_directions(pairs.atoms, pairs.images, cell)
    return Neighbors(torch.from_numpy(np.stack([source, target])), torch.from_numpy(shift), torch.from_numpy(reverse))


def both_directions(
    atoms: np.ndarray, images: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Source, target [E], shift [E, 3] Å and reverse [E] of the edges of sorted pairs.

    An edge to the first atom of its pair comes from a later atom, one to the second from an earlier. So with the
    latter put first, a stable sort by target alone sorts by source as well; of small integers it takes linear time.
    """
    first, second = atoms.T
    count = len(atoms)
    order = np.argsort(np.concatenate([second, first]), kind="stable")
    place = np.empty(2 * count, dtype=np.int64)
    place[order] = np.arange(2 * count)
    reverse = place[np.where(order < count, order + count, order - count)]
    source = np.concatenate([first, second])[order].astype(np.int64)
    target = np.concatenate([second, first])[order].astype(np.int64)
    shift = np.zeros((2 * count, 3))
    if len(images):
        shift[:count] = images @ -np.asarray(cell, dtype=np.float64)
        shift[count:] = -shift[:count]
        shift = shift[order]
    return source, target, shift, reverse


def decided_by_nearest(
    positions: np.ndarray, box: np.ndarray, atoms: np.ndarray, images: np.ndarray, most: int
) -> np.ndarray:
    """[P] whether a pair is kept: by the one of its two edges that ends at the later atom, or has the earlier image."""
    source, target, shift, _ = both_directions(atoms, images, box)
    distances = np.linalg.norm(positions[source] + shift - positions[target], axis=1)
    order = np.lexsort((distances, target))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(target, target[order])
    decides = np.argsort(np.argsort(np.concatenate([atoms[:, 1], atoms[:, 0]]), kind="stable"))[: len(atoms)]
    return rank[decides] < most
