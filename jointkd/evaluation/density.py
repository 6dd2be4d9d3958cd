"""Densities of pairs of values, predicted against reference: two-dimensional histograms that do not grow."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

BINS = 256  # along an axis; a power of 2, at least 4
MOST_SHOWN = 100  # bins along an axis of the plot
FIRST_RANGE = 1 / 64  # eV/Å or eV/atom


class Density:
    """A two-dimensional histogram that doubles its range around a centre when a value lies outside.

    Bins are joined two by two then, so that it is exact and its size does not grow. center: None for the first value.
    """

    def __init__(self, center: float | None = None) -> None:
        self.center = center
        self.range = FIRST_RANGE  # the axes go from center - range to center + range
        self.counts = np.zeros((BINS, BINS))  # by reference, then prediction

    def add(self, reference: np.ndarray, predicted: np.ndarray) -> None:
        """Add pairs of finite values, arrays of one shape that are not empty."""
        pairs = np.stack([reference.ravel(), predicted.ravel()])
        if self.center is None:
            self.center = float(pairs[0, 0])
        pairs -= self.center
        while np.abs(pairs).max() >= self.range:
            self.counts, self.range = np.pad(joined(self.counts), BINS // 4), 2 * self.range
        bins = np.floor((pairs / self.range + 1) * (BINS // 2)).astype(int)
        np.add.at(self.counts, tuple(bins), 1)

    def join(self, other: "Density") -> None:
        """Add what another density with the same centre has counted."""
        assert self.center == other.center
        counts, size = other.counts, other.range
        while size < self.range:
            counts, size = np.pad(joined(counts), BINS // 4), 2 * size
        while self.range < size:
            self.counts, self.range = np.pad(joined(self.counts), BINS // 4), 2 * self.range
        self.counts = self.counts + counts

    def shown(self) -> tuple[np.ndarray, np.ndarray]:
        """The edges of the bins [K + 1] and the counts [K, K], of no more bins than can be told apart."""
        counts = self.counts
        while np.ptp(occupied(counts)) >= MOST_SHOWN:
            counts = joined(counts)
        first, last = max(occupied(counts)[0] - 2, 0), min(occupied(counts)[-1] + 3, len(counts))
        edges = (self.center or 0.0) + np.linspace(-self.range, self.range, len(counts) + 1)
        return edges[first : last + 1], counts[first:last, first:last]


def joined(counts: np.ndarray) -> np.ndarray:
    """Bins joined two by two along both axes."""
    half = len(counts) // 2
    return counts.reshape(half, 2, half, 2).sum((1, 3))


def occupied(counts: np.ndarray) -> np.ndarray:
    """The positions along either axis where there are counts."""
    return np.flatnonzero(counts.any(0) | counts.any(1))


def save_densities(**densities: Density) -> bytes:
    """Densities as an .npz file: the edges [K + 1] and the counts [K, K], by reference, then prediction, of each."""
    arrays = {}
    for name, density in densities.items():
        arrays[f"{name}_edges"], arrays[f"{name}_counts"] = density.shown()
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    return content.getvalue()


def load_densities(path: Path) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Edges [K + 1] and counts [K, K] by name. Raises errors of several kinds for a file that is damaged."""
    with np.load(path) as arrays:
        names = [name.removesuffix("_edges") for name in arrays.files if name.endswith("_edges")]
        return {name: (arrays[f"{name}_edges"], arrays[f"{name}_counts"]) for name in names}


def coarsened(edges: np.ndarray, counts: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges and counts of a density around zero with bins of another width, a power of two times its own."""
    own = edges[1] - edges[0]
    factor, first = round(width / own), round(edges[0] / own)
    before = first % factor
    counts = np.pad(counts, (before, -(before + len(counts)) % factor))
    size = len(counts) // factor
    counts = counts.reshape(size, factor, size, factor).sum((1, 3))
    return width * ((first - before) // factor + np.arange(size + 1)), counts
