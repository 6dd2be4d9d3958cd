"""Neighbours within a cutoff, periodic or not, computed once per structure."""

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList


def neighbors(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> tuple[Tensor, Tensor]:
    """All pairs within `cutoff`: (edge_index [2, E], edge_shift [E, 3] Å), sorted by target and source.

    positions [N, 3] Å; cell [3, 3] Å; pbc [3]; an edge's vector is
    positions[source] + shift - positions[target] and is at most `cutoff` long.
    """
    box = np.where(np.asarray(pbc)[:, None], cell, 0.0)
    search = NeighborList(cutoff=cutoff, full_list=True)
    target, source, images = search.compute(
        points=np.asarray(positions, dtype=np.float64), box=box, periodic=np.asarray(pbc), quantities="ijS"
    )
    order = np.lexsort((*images.T, source, target))
    index = np.stack([source[order], target[order]]).astype(np.int64)
    shift = images[order].astype(np.float64) @ box
    return torch.from_numpy(index), torch.from_numpy(shift)
