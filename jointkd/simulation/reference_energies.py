"""Reference energies along a dihedral: from a table, from structures, or the published slices of 3BPA."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read

from jointkd.errors import DataError, first_line
from jointkd.evaluation.profiles import wrapped
from jointkd.simulation.dihedrals import Dihedral

NEAR = 0.5  # degrees: angles that differ by less are the same
ANGLES = "dihedrals"  # the entry of a structure of 3BPA with α, β and γ, in degrees
COLUMNS = ("angle_deg", "energy_eV")


@dataclass(frozen=True)
class Slice:
    """The structures of 3BPA with one α and one β (degrees), in the order of γ."""

    alpha: float
    beta: float
    gammas: np.ndarray  # [M] degrees, ascending
    structures: list[Atoms]
    energies: np.ndarray  # [M] eV

    @property
    def title(self) -> str:
        return f"α = {self.alpha:g}°, β = {self.beta:g}°"


def reference_energies(path: str, angles: np.ndarray, dihedral: Dihedral, energy_key: str) -> np.ndarray:
    """[M] eV: the energies of a file at the angles [M] (degrees) of a scan.

    A csv file has the columns angle_deg and energy_eV; of other files ASE reads structures, whose dihedral is measured.
    Raises DataError for a file that lacks an angle, or has several energies at one.
    """
    found = read_table(path) if Path(path).suffix == ".csv" else measured(path, dihedral, energy_key)
    apart = np.abs(wrapped(found[:, 0][:, None] - angles)) < NEAR
    counts = apart.sum(axis=0)
    if (counts != 1).any():
        place = int(np.flatnonzero(counts != 1)[0])
        has = "no energy" if counts[place] == 0 else f"{counts[place]} energies"
        raise DataError(
            f"reference={path} has {has} within {NEAR} degrees of {angles[place]:g}, one of the {len(angles)} angles",
            "give one energy for each angle, 0 to below 360 degrees, or other steps",
        )
    return found[apart.argmax(axis=0), 1]


def read_table(path: str) -> np.ndarray:
    """[K, 2] angle in degrees, energy in eV, from a csv file with these columns. Raises DataError."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = [[float(row[name]) for name in COLUMNS] for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"reference={path} cannot be read ({first_line(error)})", f"give the columns {' and '.join(COLUMNS)}"
        ) from error
    return np.array(rows, dtype=float).reshape(-1, 2)


def measured(path: str, dihedral: Dihedral, energy_key: str) -> np.ndarray:
    """[K, 2] angle in degrees, energy in eV, of the structures of a file. Raises DataError."""
    found = []
    for place, atoms in enumerate(read_structures(path, "reference")):
        if max(dihedral.atoms) >= len(atoms):
            raise DataError(
                f"structure {place} of reference={path} has {len(atoms)} atoms", "give the scanned molecule"
            )
        found.append((dihedral.angle(atoms), energy_of(atoms, energy_key, f"structure {place} of reference={path}")))
    return np.array(found).reshape(-1, 2)


def read_slices(path: str, planes: Sequence[Sequence[float]], energy_key: str) -> list[Slice]:
    """The slices of a file of 3BPA at given α and β (degrees). Raises DataError where one is not there.

    Source: Kovács et al. 2021; each structure has its α, β and γ under `dihedrals`.
    """
    structures = read_structures(path, "slices")
    angles = np.array(
        [dihedrals_of(atoms, f"structure {place} of slices={path}") for place, atoms in enumerate(structures)]
    )
    found = []
    for alpha, beta in planes:
        apart = np.abs(wrapped(angles[:, :2] - [alpha, beta]))
        places = np.flatnonzero((apart < NEAR).all(axis=1))
        if len(places) < 3:
            there = sorted({(a, b) for a, b, _ in angles.round(1).tolist()})
            shown = ", ".join(f"[{a:g},{b:g}]" for a, b in there[:6]) + (", …" if len(there) > 6 else "")
            raise DataError(
                f"slices={path} has {len(places)} structures with α = {alpha:g} and β = {beta:g}, too few for a slice",
                f"give planes=[[α,β],…] as they are in the file ({shown})",
            )
        places = places[np.argsort(angles[places, 2], kind="stable")]
        if (np.diff(angles[places, 2]) == 0).any():
            raise DataError(f"slices={path} has one γ twice at α = {alpha:g}, β = {beta:g}", "remove one of the two")
        kept = [structures[place] for place in places]
        energies = [energy_of(atoms, energy_key, f"a structure of slices={path}") for atoms in kept]
        found.append(Slice(alpha, beta, angles[places, 2], kept, np.array(energies)))
    return found


def read_structures(path: str, option: str) -> list[Atoms]:
    """All structures of a file. Raises DataError."""
    try:
        structures: Any = read(Path(path).expanduser(), index=":", do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's readers raise errors of any class
        raise DataError(
            f"{option}={path} cannot be read ({first_line(error)})", "give a file that ASE reads"
        ) from error
    if not structures:
        raise DataError(f"{option}={path} has no structures", "give another file")
    return list(structures)


def dihedrals_of(atoms: Atoms, place: str) -> list[float]:
    """α, β and γ of a structure of 3BPA, in degrees. Raises DataError."""
    angles = np.asarray(atoms.info.get(ANGLES, ()), dtype=object).ravel()
    try:
        values = [float(angle) for angle in angles]
    except (TypeError, ValueError):
        values = []
    if len(values) != 3 or not np.isfinite(values).all():
        raise DataError(
            f"{place} has no three angles under {ANGLES}",
            "give test_dih.xyz of BOTNet-datasets, whose structures have α, β and γ there, in degrees",
        )
    return values


def energy_of(atoms: Atoms, key: str, place: str) -> float:
    """The energy (eV) of a structure under a key. Raises DataError."""
    results = atoms.calc.results if atoms.calc is not None else {}
    value = results.get(key, atoms.info.get(key))
    if not isinstance(value, int | float | np.number) or not np.isfinite(value):
        known = [name for name in (*results, *atoms.info) if np.ndim((results | atoms.info)[name]) == 0]
        raise DataError(
            f"{place} has no energy under energy_key={key} (it has {', '.join(known) or 'none'})", "set energy_key"
        )
    return float(value)
