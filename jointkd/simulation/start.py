"""The start of a simulation: the structure as its file has it, with frozen atoms and masses, and random momenta."""

import logging
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms, FixCartesian, FixCom, FixScaled
from ase.io import read

from jointkd.errors import DataError
from jointkd.structures.frame import CHARGES, SPINS, bare

log = logging.getLogger(__name__)


def read_start(structures: str, index: int) -> Atoms:
    """A structure of a file, with its frozen atoms and masses, but without labels and velocities.

    The centre of mass is fixed where no atom is. Raises DataError for what cannot be read or simulated.
    """
    structure, place = read_structure(structures, index), f"structure {index} of {structures}"
    report_charges([structure.info], place)
    return prepared_start(structure, place)


def prepared_start(structure: Atoms, place: str) -> Atoms:
    """As `read_start`, for a structure that has been read. place: what it is called in messages."""
    check_geometry(structure, place)
    masses = structure.get_masses()
    if not (np.isfinite(masses) & (masses > 0)).all():
        raise DataError(f"{place} has masses that are not positive", "correct its masses, or leave them out")
    start = bare(structure)
    if structure.has("masses"):
        start.set_masses(masses)
    frozen = frozen_atoms(structure, place)
    start.set_constraint(frozen or FixCom())
    if start.get_number_of_degrees_of_freedom() < 1:
        remedy = "give a supercell, or more atoms that may move"
        if len(start) == 1 and not frozen:
            raise DataError(f"{place}: one atom has no degrees of freedom besides its centre of mass", remedy)
        raise DataError(f"{place}: all atoms are frozen", remedy)
    report_what_is_kept(structure, start, place)
    return start


def prepared_starts(structures: Mapping[int, Atoms], place: str) -> dict[int, Atoms]:
    """As `prepared_start`, for structures of a file or a split by their number.

    Those of one atom are left out, and a line says so; where there are no others, they are refused. Raises DataError.
    """
    report_charges([atoms.info for atoms in structures.values()], place)
    several = {number: atoms for number, atoms in structures.items() if len(atoms) != 1 or atoms.constraints}
    if several and (left_out := len(structures) - len(several)):
        log.warning(
            "%d of %d structures of %s are left out: one atom has no degrees of freedom besides its centre of mass "
            "(a supercell has)",
            *(left_out, len(structures), place),
        )
    return {n: prepared_start(atoms, f"structure {n} of {place}") for n, atoms in (several or structures).items()}


def read_structure(structures: str, index: int | str) -> Any:
    """A structure of a file, or for index=":" all as a list. Raises DataError for what is missing or unreadable."""
    path = Path(structures).expanduser()
    try:
        structure: Any = read(path, index=index, do_not_split_by_at_sign=True)  # `index` says which
    except FileNotFoundError as error:
        raise DataError(f"structures={structures} does not exist", "give a file that ASE reads") from error
    except (IndexError, StopIteration) as error:
        raise DataError(f"index={index}: {structures} has fewer structures", "count them from 0") from error
    except Exception as error:
        raise DataError(f"structures={structures} cannot be read ({error})", "give a file that ASE reads") from error
    return structure


def check_geometry(atoms: Atoms, place: str) -> None:
    """Raises DataError for no atoms, positions that are not finite, and a cell that does not span what is periodic."""
    if not len(atoms):
        raise DataError(f"{place} has no atoms", "give another structure")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise DataError(f"{place} has positions or lattice vectors that are not finite", "correct the file")
    periodic = atoms.cell.array[atoms.pbc]
    if np.linalg.matrix_rank(periodic) < len(periodic):
        raise DataError(
            f"{place} is periodic (pbc={' '.join(str(each) for each in atoms.pbc)}) but lacks lattice vectors",
            "give its cell, or make it not periodic",
        )


def frozen_atoms(atoms: Atoms, place: str) -> list[FixAtoms | FixCartesian]:
    """The constraints of a structure that freeze atoms, or some of their coordinates. Raises DataError for others."""
    frozen: list[FixAtoms | FixCartesian] = []
    for constraint in atoms.constraints:
        along_axes = not np.count_nonzero(atoms.cell.array - np.diag(np.diag(atoms.cell.array)))
        if isinstance(constraint, FixAtoms | FixCartesian):
            frozen.append(constraint)
        elif isinstance(constraint, FixScaled) and (along_axes or np.all(constraint.mask)):
            frozen.append(FixCartesian(constraint.index, constraint.mask))
        elif not isinstance(constraint, FixCom):
            raise DataError(
                f"{place} has the constraint {type(constraint).__name__}, which is not supported here",
                "freeze atoms (FixAtoms) or their x, y or z (FixCartesian) instead, or remove it",
            )
    return frozen


def report_what_is_kept(structure: Atoms, start: Atoms, place: str) -> None:
    """Log which frozen atoms, masses and velocities of the file are used, and which are not."""
    frozen = {int(atom) for each in start.constraints if not isinstance(each, FixCom) for atom in each.get_indices()}
    if frozen:
        log.info("%s: %d atoms are frozen, or some of their coordinates, as in the file", place, len(frozen))
    if structure.has("masses"):
        log.info("%s: the masses are those of the file", place)
    if structure.has("momenta") and structure.get_momenta().any():
        log.info("%s: the velocities of the file are replaced by random ones at the temperature", place)


def report_charges(infos: Sequence[Mapping[str, Any]], place: str, where: str = "here") -> None:
    """Log, once, which charges and spins that files state do not count. infos: of one structure or several."""
    texts = [text for info in infos if (text := charge_and_spin(info))]
    if not texts:
        return
    which = f"{place} has {texts[0]}"
    if len(infos) > 1:
        which = f"{len(texts)} of {len(infos)} structures of {place} have a charge or a spin (the first: {texts[0]})"
    log.warning("%s, which does not count %s: students take no charge and no spin", which, where)


def charge_and_spin(info: Mapping[str, Any]) -> str:
    """The total charge (e) and the spin (2S + 1) that a file states of a structure; empty for a neutral singlet."""
    charge, spin = stated(info, CHARGES, 0), stated(info, SPINS, 1)
    texts = [f"charge={charge:g}"] if charge else []
    return " and ".join([*texts, *([f"spin={spin:g}"] if spin > 1 else [])])


def stated(info: Mapping[str, Any], names: Sequence[str], default: float) -> float:
    """The first number that a file states under one of some names."""
    found = (info.get(name) for name in names)
    return next((float(value) for value in found if isinstance(value, Real)), default)


def thermalize(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Give the atoms random momenta at a temperature (K), which its constraints then project.

    (The name of ASE's own function depends on its version.)
    """
    momenta = rng.standard_normal((len(atoms), 3))
    atoms.set_momenta(momenta * np.sqrt(atoms.get_masses() * (units.kB * temperature))[:, None])
