"""Neighbours within a cutoff, periodic or not, computed once per structure."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList


class Neighbors(NamedTuple):
    """All pairs within a cutoff as edges in both directions, sorted by target, source and image."""

    edge_index: Tensor  # [2, E] source, target
    edge_shift: Tensor  # [E, 3] Å; the edge's vector is positions[source] + shift - positions[target]
    edge_reverse: Tensor  # [E] position of the edge that goes back, through the opposite image


def neighbors(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float, max_neighbors: int | None = None
) -> Neighbors:
    """The edges that are at most `cutoff` (Å) long. positions [N, 3] Å; cell [3, 3] Å; pbc [3].

    max_neighbors: keep a pair only if its earlier atom is among so many nearest of its later one, as the prior
    art does. Energies then jump when neighbours change rank, and depend on the order of atoms.
    """
    box = np.where(np.asarray(pbc)[:, None], cell, 0.0)
    search = NeighborList(cutoff=cutoff, full_list=True)
    target, source, images = search.compute(
        points=np.asarray(positions, dtype=np.float64), box=box, periodic=np.asarray(pbc), quantities="ijS"
    )
    order = np.lexsort((*images.T, source, target))
    source, target, images = source[order].astype(np.int64), target[order].astype(np.int64), images[order]
    reverse = np.lexsort((*-images.T, target, source))  # sorts the edges back, so that the k-th of them is edge k
    shift = images.astype(np.float64) @ box
    if max_neighbors is not None:
        distances = np.linalg.norm(positions[source] + shift - positions[target], axis=1)
        kept = decided_by_nearest(distances, target, reverse, max_neighbors)
        source, target, shift = source[kept], target[kept], shift[kept]
        reverse = (np.cumsum(kept) - 1)[reverse[kept]]
    return Neighbors(torch.from_numpy(np.stack([source, target])), torch.from_numpy(shift), torch.from_numpy(reverse))


def decided_by_nearest(distances: np.ndarray, target: np.ndarray, reverse: np.ndarray, most: int) -> np.ndarray:
    """[E] whether a pair is kept: by the one of its two edges that ends at the later atom, or has the earlier image."""
    order = np.lexsort((distances, target))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(target, target[order])
    near = rank < most
    edge = np.arange(len(reverse))
    own_image = target == target[reverse]
    return near[np.where(own_image, np.minimum(edge, reverse), np.maximum(edge, reverse))]
