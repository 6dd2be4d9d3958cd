"""Scans of a dihedral through a full turn, rigid or relaxed, with any ASE calculators."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.constraints import FixInternals
from ase.optimize import BFGS, FIRE

from jointkd.errors import ConfigError
from jointkd.progress import Progress
from jointkd.ranges import check_integer, check_number
from jointkd.simulation.dihedrals import Dihedral, collisions
from jointkd.structures.frame import bare

log = logging.getLogger(__name__)

MINIMIZERS = {"bfgs": BFGS, "fire": FIRE}
FEWEST = 4  # angles of a scan: a minimum and a maximum with their neighbours


@dataclass(frozen=True)
class ScanOptions:
    """How a dihedral is scanned. Raises ConfigError for a value out of its range."""

    steps: int = 36  # angles, evenly spread over the full turn, beginning at 0°
    relax: bool = False  # whether all but the dihedral is relaxed at each angle, with each force field by itself
    minimizer: str = "bfgs"  # or fire
    fmax: float = 0.02  # eV/Å, the largest force on an atom when a relaxation has converged
    max_steps: int = 200  # of a relaxation

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, least=FEWEST)
        check_integer("max_steps", self.max_steps)
        check_number("fmax", self.fmax, "eV/Å")
        if self.minimizer not in MINIMIZERS:
            raise ConfigError(f"minimizer={self.minimizer} is not known", f"choose one of {', '.join(MINIMIZERS)}")

    @property
    def angles(self) -> np.ndarray:
        """[steps] degrees."""
        return 360.0 * np.arange(self.steps) / self.steps


@dataclass(frozen=True)
class Scan:
    """What one force field says along a dihedral."""

    structures: list[Atoms]  # at each angle; where it is relaxed, each force field has its own
    energies: np.ndarray  # [M] eV, not a number where the force field failed or a relaxation did not converge


def scan(
    structure: Atoms, dihedral: Dihedral, options: ScanOptions, calculators: Mapping[str, BaseCalculator]
) -> dict[str, Scan]:
    """A scan with each calculator, by its name.

    Every structure is the start with the atoms of one side turned rigidly; with `relax` it is then relaxed, each from
    there and not from its neighbour, so that a scan does not depend on its direction.
    """
    rigid = [dihedral.turned(structure, angle) for angle in options.angles]
    if collided := collisions(rigid, structure):
        text = "at %d of %d angles atoms that are not bonded collide as the dihedral turns"
        log.warning(text, collided, len(rigid))
    scans = {}
    total = len(calculators) * len(rigid)
    with Progress("scan", 0, total, "structure") as progress:
        for number, (name, calculator) in enumerate(calculators.items()):
            points = []
            for done, (angle, atoms) in enumerate(zip(options.angles, rigid, strict=True), number * len(rigid) + 1):
                points.append(point(atoms, dihedral, float(angle), options, calculator))
                progress.show(done, lambda done=done, name=name: f"{done} of {total} structures ({name})")  # type: ignore[misc]
            scans[name] = Scan([atoms for atoms, _ in points], np.array([energy for _, energy in points]))
            if failed := int(np.count_nonzero(~np.isfinite(scans[name].energies))):
                why = (
                    f"was not relaxed to fmax={options.fmax} eV/Å in {options.max_steps} steps, or "
                    if options.relax
                    else ""
                )
                log.warning("%s: at %d of %d angles the structure %shas no energy", name, failed, len(rigid), why)
    return scans


def point(
    start: Atoms, dihedral: Dihedral, angle: float, options: ScanOptions, calculator: BaseCalculator
) -> tuple[Atoms, float]:
    """The structure at an angle (degrees), and its energy in eV."""
    atoms = start.copy()
    atoms.calc = calculator
    if options.relax and not relaxed(atoms, dihedral, angle, options):
        energy = np.nan
    else:
        energy = float(atoms.get_potential_energy())
    atoms.calc = None
    atoms.set_constraint()
    return atoms, energy


def relaxed(atoms: Atoms, dihedral: Dihedral, angle: float, options: ScanOptions) -> bool:
    """Relax a structure in place with the dihedral kept at `angle` (degrees); whether that has converged."""
    atoms.set_constraint(FixInternals(dihedrals_deg=[[angle, list(dihedral.atoms)]]))
    try:
        optimizer = MINIMIZERS[options.minimizer](atoms, logfile=None)
        return bool(optimizer.run(fmax=options.fmax, steps=options.max_steps))
    except (ValueError, ZeroDivisionError, np.linalg.LinAlgError) as error:  # the constraint could not be kept
        log.debug("at %g degrees: %s", angle, error)
        return False


def energies_of(structures: Sequence[Atoms], calculator: BaseCalculator) -> np.ndarray:
    """[M] eV: the energies of structures as they are."""
    energies = []
    for structure in structures:
        atoms = bare(structure)
        atoms.calc = calculator
        energies.append(float(atoms.get_potential_energy()))
    return np.array(energies)
