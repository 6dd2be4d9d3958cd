"""Energies that cannot belong to their structures, found against a robust fit per element."""

import numpy as np

from jointkd.structures.columns import count_atoms, evenly_spread

SAMPLE_SIZE = 20_000  # structures from which the energies of the elements are fitted
FIT_ITERATIONS = 20
ABSURD = 10.0  # eV/atom from the fit; structures whose forces are plausible stay far below
SUFFICIENT = 3  # times the number of elements; fewer structures do not determine the fit
DEVIATIONS = 50.0  # times the median absolute deviation, which must be exceeded as well


def absurd_energies(numbers: np.ndarray, first_atom: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """[S] whether the energy of a structure is absurd: ABSURD eV/atom and DEVIATIONS away from what its elements give.

    numbers: atomic numbers of all atoms, structure by structure; first_atom [S + 1]: where each structure begins;
    energies [S] eV, NaN where there is none. Nothing is said of a few structures, which do not determine the fit.
    """
    sizes = np.diff(first_atom)
    counts = count_atoms(numbers, sizes, np.unique(numbers).tolist())
    known = np.flatnonzero(np.isfinite(energies))
    absurd = np.zeros(len(sizes), dtype=bool)
    if len(known) < SUFFICIENT * counts.shape[1]:
        return absurd
    shares, per_atom = counts[known] / sizes[known, None], energies[known] / sizes[known]
    sample = list(evenly_spread(range(len(known)), SAMPLE_SIZE))
    fitted = least_absolute_deviations(shares[sample], per_atom[sample])
    residual = per_atom - shares @ fitted
    residual = np.abs(residual - np.median(residual))
    absurd[known] = residual > max(ABSURD, DEVIATIONS * float(np.median(residual)))
    return absurd


def least_absolute_deviations(shares: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """[elements] eV: fitted energies of the elements, which a few wrong energies shift less than in least squares.

    shares: [structures, elements] fraction of the atoms; energies: [structures] eV/atom.
    """
    weights = np.ones(len(energies))
    for _ in range(FIT_ITERATIONS):
        solution = np.linalg.lstsq(shares * weights[:, None], energies * weights, rcond=None)[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(energies - shares @ solution), 1e-4))
    return solution
