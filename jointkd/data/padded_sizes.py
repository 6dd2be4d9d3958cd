"""The few sizes to which the batches of a training split are padded, so that few steps need to be compiled."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from jointkd.data.dataset import EpochBatches
from jointkd.structures.batch import Precomputed, Structure, collate
from jointkd.structures.padding import Size, pad

GraphOf = Callable[[Structure], Precomputed] | None

SIMULATED = 2000  # batches, or one epoch if that has more
MARGIN = 1.03  # times the largest batch of the simulated epochs
RATIO = 1.3  # of one size to the next
MOST = 3  # sizes
LEAST_SHARE = 0.1  # of the batches that a smaller size must hold


@dataclass(frozen=True)
class PaddedBatches:
    """Makes a batch of structures, padded to the smallest size that holds it; as it is where none does."""

    sizes: Sequence[Size]  # ascending
    distance: float  # Å, of pairs that pad
    dtype: torch.dtype
    graph_of: GraphOf  # of batches that are not padded
    padded_graph_of: GraphOf

    def __call__(self, structures: Sequence[Structure]) -> Structure:
        """See `collate`."""
        batch, graph_of = collate(structures, self.dtype), self.graph_of
        size = next((size for size in self.sizes if size.holds(batch)), None)
        if size is not None:
            batch, graph_of = pad(batch, size, self.distance), self.padded_graph_of
        return batch if graph_of is None else replace(batch, graph=graph_of(batch))


def padded_sizes(atoms: np.ndarray, pairs: np.ndarray, batches: EpochBatches) -> list[Size]:
    """Sizes in ascending order. atoms, pairs: of each structure of the split; batches: as training will take them."""
    totals = totals_of_batches(atoms, pairs, batches)
    structures = -(-batches.size // (batches.ranks * batches.parts)) + 1
    sizes = [size_for(totals, structures)]
    while len(sizes) < MOST:
        smaller = totals[totals[:, 1] <= totals[:, 1].max() / RATIO ** len(sizes)]
        if len(smaller) < LEAST_SHARE * len(totals):
            break
        sizes.append(size_for(smaller, structures))
    return sizes[::-1]


def totals_of_batches(atoms: np.ndarray, pairs: np.ndarray, batches: EpochBatches) -> np.ndarray:
    """[K, 2] atoms and pairs of the batches of some epochs, with all structures and with referenced ones alone."""
    totals: list[tuple[int, int]] = []
    epoch = 0
    while epoch == 0 or len(totals) + len(batches) <= SIMULATED:
        batches.set_epoch(epoch)
        batches.only_referenced_from = 0 if epoch % 2 and len(batches.referenced) else None
        members = ([index for _, index in batch] for batch in batches)
        totals += [(int(atoms[part].sum()), int(pairs[part].sum())) for part in members]
        epoch += 1
    batches.set_epoch(0)
    batches.only_referenced_from = None
    return np.array(totals)


def size_for(totals: np.ndarray, structures: int) -> Size:
    """A size that holds all of these batches. totals [K, 2] atoms and pairs."""
    atoms, pairs = (int(MARGIN * largest) for largest in totals.max(0))
    return Size(-(-(atoms + structures) // 8) * 8, -(-(pairs + 1) // 64) * 64, structures)
