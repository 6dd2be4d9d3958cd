"""Whether the unit of energies is plausible: all-electron ones are known within a per cent."""

import numpy as np

from jointkd.data.free_atoms import ALL_ELECTRONS
from jointkd.data.outliers import SAMPLE_SIZE, least_absolute_deviations
from jointkd.data.readers.units import ENERGY
from jointkd.errors import DataError
from jointkd.structures.columns import count_atoms

FREE_ATOMS = {z: ALL_ELECTRONS[z] for z in (6, 7, 8, 9, 15, 16, 17)}  # eV; bonds are a small part of these
TOLERANCE = 0.03  # relative; bonds and functionals change all-electron energies by less
AGREEING = 2  # elements that must give the same unit; that several pseudopotentials do so by chance is unlikely


def check_energies(numbers: np.ndarray, first_atom: np.ndarray, energies: np.ndarray) -> None:
    """Raise DataError if the energies per element are those of all-electron atoms in another unit.

    numbers: atomic numbers of all atoms, structure by structure; first_atom [S + 1]: where each structure begins;
    energies [S] eV, NaN where there is none. Nothing is said where the compositions do not determine them.
    """
    sizes = np.diff(first_atom)
    elements = np.unique(numbers).tolist()
    counts = count_atoms(numbers, sizes, elements)
    known = np.flatnonzero(np.isfinite(energies))
    known = known[:: max(1, len(known) // SAMPLE_SIZE)]
    shares = counts[known] / sizes[known, None]
    if not len(known) or np.linalg.matrix_rank(shares) < len(elements):
        return
    fitted = least_absolute_deviations(shares, energies[known] / sizes[known])
    ratios = np.array([e / FREE_ATOMS[z] for z, e in zip(elements, fitted, strict=True) if z in FREE_ATOMS])
    if len(ratios) < AGREEING:
        return
    for unit, size in ENERGY.items():
        for ratio, mistake in ((1 / size, f"in {unit} that are read as eV"), (size, f"in eV that are read as {unit}")):
            if unit != "eV" and (np.abs(ratios / ratio - 1) < TOLERANCE).all():
                raise DataError(
                    f"energies per element are those of free atoms {mistake}",
                    "set data.units.energy to the unit of the file",
                )
