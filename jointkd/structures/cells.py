"""Whether a structure's coordinates and cell are sound, decided before its neighbours are searched."""

import numpy as np

LARGEST = 1e4  # Å; the search for neighbours cannot divide a space that is much larger
DEPENDENT = 1e-12  # squared volume that unit vectors along the lattice vectors span; flatter cells have none
CROWDED = 5000.0  # expected neighbours of an atom; densely packed matter has 1400 within 12 Å
FEW_PAIRS = 1e6  # a structure with fewer is searched however crowded it is


def cell_fault(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float) -> str | None:
    """Why neighbours cannot be searched, None if they can. positions [N, 3] Å; cell [3, 3] Å; pbc [3]; cutoff Å.

    The number of neighbours is estimated from the heights of the cell, so that it is bounded before any are listed.
    """
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        return "positions or lattice vectors are not finite"
    if max(np.abs(positions).max(initial=0.0), np.abs(cell).max()) > LARGEST:
        return f"a coordinate or lattice vector exceeds {LARGEST:g} Å"
    vectors = np.asarray(cell, dtype=float)[pbc]
    lengths = np.sqrt((vectors**2).sum(1))
    if (lengths == 0).any():
        return f"it is periodic along {'abc'[np.flatnonzero(pbc)[lengths.argmin()]]} and has no lattice vector there"
    directions = vectors / lengths[:, None]
    metric = directions @ directions.T
    if np.linalg.det(metric) < DEPENDENT:
        return "its lattice vectors are linearly dependent"
    heights = lengths / np.sqrt(np.diag(np.linalg.inv(metric)))
    expected = len(positions) * float(np.prod(2 * cutoff / heights))
    if is_crowded(expected, len(positions)) and is_crowded(
        expected * share_within(positions, directions, cutoff), len(positions)
    ):
        return f"its cell is so small that an atom would have more than {CROWDED:g} neighbours within {cutoff:g} Å"
    return None


def heights(cell: np.ndarray) -> np.ndarray:
    """[3] Å between the lattice planes that each vector of a cell [3, 3] Å leads from and to."""
    return 1 / np.linalg.norm(np.linalg.pinv(cell), axis=0)


def is_crowded(expected: float, atoms: int) -> bool:
    """Whether the expected neighbours of each atom are too many."""
    return expected > CROWDED and expected * atoms > FEW_PAIRS


def share_within(positions: np.ndarray, directions: np.ndarray, cutoff: float) -> float:
    """The share of the atoms within the cutoff (Å) of one, normal to the lattice vectors' directions [k, 3]."""
    normal = np.linalg.svd(directions)[2][len(directions) :] if len(directions) else np.eye(3)
    extents = np.ptp(positions @ normal.T, axis=0)
    return float(np.prod(np.minimum(1.0, 2 * cutoff / np.maximum(extents, 2 * cutoff))))
