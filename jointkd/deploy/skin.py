"""Neighbours of atoms that move: searched within the cutoff and a skin, then filtered by distance in every step."""

from typing import NamedTuple

import numpy as np

from jointkd.structures.neighbors import find_pairs


class NearPairs(NamedTuple):
    """All pairs within a cutoff, each once, between the positions at which atoms are now."""

    source: np.ndarray  # [P] int64
    target: np.ndarray  # [P] int64
    vectors: np.ndarray  # [P, 3] Å, float64, from the target to the source


class SkinNeighbors:
    """Finds pairs within `cutoff` (Å) and searches anew only when an atom has moved by more than half of `skin` (Å).

    An atom may return to the cell on its other side: its displacement is taken modulo lattice vectors, and pairs keep
    the images that they had. max_neighbors: see `neighbors`; the nearest change with every step, so there is no skin.
    """

    def __init__(self, cutoff: float, skin: float, max_neighbors: int | None = None) -> None:
        self.cutoff, self.max_neighbors = cutoff, max_neighbors
        self.skin = skin if max_neighbors is None else 0.0
        self.searches = 0
        self._positions = np.empty((0, 3))  # at the last search
        self._lattice = np.empty((3, 3)), np.empty(3, dtype=bool)  # cell and pbc

    def pairs(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> NearPairs:
        """positions [N, 3] Å; cell [3, 3] Å; pbc [3]. Raises DataError for a cell that is not sound."""
        moved = self._displacements(positions, cell, pbc)
        if moved is None or (4 * np.square(moved).sum(1) > self.skin**2).any():
            self._search(positions, cell, pbc)
            moved = np.zeros_like(self._positions)
        unwrapped = self._positions + moved
        vectors = unwrapped.take(self._source, 0) - unwrapped.take(self._target, 0)
        if self._shifts is not None:
            vectors += self._shifts
        if not self.skin:
            return NearPairs(self._source, self._target, vectors)
        near = np.flatnonzero(np.einsum("pa,pa->p", vectors, vectors) < self.cutoff**2)
        return NearPairs(self._source.take(near), self._target.take(near), vectors.take(near, 0))

    def _displacements(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray | None:
        """[N, 3] Å since the last search, modulo lattice vectors; None where that was of another system."""
        before = self._lattice
        if not self.searches or len(positions) != len(self._positions):
            return None
        if not (np.array_equal(cell, before[0]) and np.array_equal(pbc, before[1])):
            return None
        moved = positions - self._positions
        if self._periodic.size:
            moved -= np.rint(moved @ self._inverse) @ self._periodic
        return moved

    def _search(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
        found = find_pairs(positions, cell, pbc, self.cutoff + self.skin, self.max_neighbors)
        self._target, self._source = (np.ascontiguousarray(atoms) for atoms in found.atoms.T)
        self._shifts = found.images @ np.asarray(cell, dtype=np.float64) if len(found.images) else None
        self._positions, self._lattice = np.array(positions, dtype=np.float64), (np.array(cell), np.array(pbc))
        self._periodic = self._lattice[0][self._lattice[1]]  # [0 … 3, 3] Å
        self._inverse = np.linalg.pinv(self._periodic)
        self.searches += 1
