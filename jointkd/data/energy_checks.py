"""Whether the unit of energies is plausible: all-electron ones are known within a per cent, hydrogen's within a third.

A hydrogen atom has no electrons but those of its bonds, so all methods with total energies, also those with
pseudopotentials and tight binding, give it nearly the same energy, and C, N, O and F ever lower ones.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from jointkd.data.free_atoms import ALL_ELECTRONS
from jointkd.data.outliers import SAMPLE_SIZE, least_absolute_deviations
from jointkd.data.readers.units import ENERGY
from jointkd.errors import DataError
from jointkd.structures.columns import count_atoms

FREE_ATOMS = {z: ALL_ELECTRONS[z] for z in (6, 7, 8, 9, 15, 16, 17)}  # eV; bonds are a small part of these
TOLERANCE = 0.03  # relative; bonds and functionals change all-electron energies by less
HYDROGEN = (-18.0, -10.2)  # eV in molecules and solids: tight binding to density functional theory
HEAVIER = (6, 7, 8, 9)  # whose total energies fall in this order; cohesive energies, for example, rise
LOWER = 3  # times the energy of hydrogen, than which those are lower
CERTAIN = 0.05  # relative standard error of the fitted energy of hydrogen
AGREEING = 2  # elements that must give the same unit; that several pseudopotentials do so by chance is unlikely


def check_energies(numbers: np.ndarray, first_atom: np.ndarray, energies: np.ndarray) -> None:
    """Raise DataError if the energies per element are those of atoms in another unit.

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
    per_atom = energies[known] / sizes[known]
    fitted = least_absolute_deviations(shares, per_atom)
    check_all_electron(dict(zip(elements, fitted.tolist(), strict=True)))
    if standard_error(shares, per_atom - shares @ fitted)[0] < CERTAIN * abs(fitted[0]):
        check_hydrogen(dict(zip(elements, fitted.tolist(), strict=True)))


def check_all_electron(fitted: Mapping[int, float]) -> None:
    """Raise DataError for energies (eV by atomic number) that are those of all-electron atoms in another unit."""
    ratios = np.array([energy / FREE_ATOMS[z] for z, energy in fitted.items() if z in FREE_ATOMS])
    if len(ratios) < AGREEING:
        return
    for ratio, mistake in mistakes():
        if (np.abs(ratios / ratio - 1) < TOLERANCE).all():
            raise DataError(
                f"energies per element are those of free atoms {mistake}",
                "set data.units.energy to the unit of the file",
            )


def check_hydrogen(fitted: Mapping[int, float]) -> None:
    """Raise DataError for energies (eV by atomic number) that are total ones, with hydrogen's in another unit."""
    heavier = [fitted[z] for z in HEAVIER if z in fitted]
    total = len(heavier) >= AGREEING and [LOWER * fitted.get(1, 0.0), *heavier] == sorted(
        [LOWER * fitted.get(1, 0.0), *heavier], reverse=True
    )
    if 1 not in fitted or not total or HYDROGEN[0] < fitted[1] < HYDROGEN[1]:
        return
    causes = [mistake for ratio, mistake in mistakes() if HYDROGEN[0] < fitted[1] / ratio < HYDROGEN[1]]
    if causes:
        raise DataError(
            f"a hydrogen atom has {fitted[1]:.3g} eV, and has about -13.6 with any method: energies are probably "
            + ", or ".join(causes),
            "set data.units.energy to the unit of the file",
        )


def mistakes() -> Iterator[tuple[float, str]]:
    """By what factor energies are wrong, and the mistake, for every unit and in both directions."""
    for unit, size in ENERGY.items():
        if unit != "eV":
            yield 1 / size, f"in {unit} that are read as eV"
            yield size, f"in eV that are read as {unit}"


def standard_error(shares: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """[elements] eV: standard errors of a fit. shares: [S, elements]; residuals: [S] eV/atom."""
    variance = residuals @ residuals / max(len(residuals) - shares.shape[1], 1)
    return np.sqrt(variance * np.diag(np.linalg.inv(shares.T @ shares)))
