"""Least squares for an energy per element, where compositions may not determine all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SMALLEST_RESIDUAL = 0.02  # eV/atom; where there are hardly more structures than elements, residuals say too little
RANK = 1e-10  # singular values below this share of the largest count as zero


@dataclass(frozen=True)
class CompositionFit:
    """Energies e(z) per element with Σ_z n_z e(z) ≈ E for the compositions n and energies E of some structures."""

    energies: dict[int, float]  # eV by atomic number
    errors: dict[int, float]  # eV: standard errors of what the compositions determine
    undetermined: tuple[dict[int, float], ...]  # orthonormal combinations of elements that come from the prior

    @property
    def from_prior(self) -> list[int]:
        """The elements whose energies the compositions do not determine."""
        return [z for z in self.energies if any(abs(direction[z]) > 1e-3 for direction in self.undetermined)]


def fit_compositions(
    counts: np.ndarray, totals: np.ndarray, elements: Sequence[int], prior: Mapping[int, float], prior_error: float
) -> CompositionFit:
    """Fit energies per element by least squares, relative to a prior.

    counts: [M, elements] atoms of each element, or shares of the atoms; totals: [M] eV, or eV/atom; prior: eV by atomic
    number; prior_error: its expected error, eV. A combination of elements whose standard error would be larger than
    that, or that does not occur at all, keeps the prior's energy; all others do not depend on the prior.
    """
    start = np.array([prior[z] for z in elements])
    missing = max(len(elements) - len(counts), 0)  # rows of zeros, so that all combinations of elements are listed
    rows = np.vstack([counts, np.zeros((missing, len(elements)))])
    left, sizes, directions = np.linalg.svd(rows, full_matrices=False)
    along = left.T @ np.concatenate([totals - counts @ start, np.zeros(missing)])
    possible = sizes > RANK * sizes[0]
    kept = possible & (residual_size(counts, totals - counts @ start, along[possible]) < prior_error * sizes)
    steps = np.where(kept, along / np.where(kept, sizes, 1.0), 0.0)
    noise = residual_size(counts, totals - counts @ start, along[kept])
    errors = np.sqrt(((noise / np.where(kept, sizes, np.inf))[:, None] ** 2 * directions**2).sum(0))
    return CompositionFit(
        dict(zip(elements, (start + steps @ directions).tolist(), strict=True)),
        dict(zip(elements, errors.tolist(), strict=True)),
        tuple(dict(zip(elements, direction.tolist(), strict=True)) for direction in directions[~kept]),
    )


def residual_size(counts: np.ndarray, totals: np.ndarray, along: np.ndarray) -> float:
    """The standard deviation of the totals [M] that is left after what lies along the fitted combinations [K]."""
    least = SMALLEST_RESIDUAL * float(counts.sum(1).mean())
    freedom = len(totals) - len(along)
    if freedom <= 0:
        return least
    return max(least, float(np.sqrt(max(totals @ totals - along @ along, 0.0) / freedom)))
