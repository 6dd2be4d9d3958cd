"""Errors of a student against its teacher along paths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.calculators.calculator import BaseCalculator

from jointkd.evaluation.error_spectra import PathErrors
from jointkd.evaluation.spectrum import windowed
from jointkd.progress import Progress
from jointkd.simulation.paths import Path
from jointkd.structures.frame import bare

Shift = Mapping[int, float]  # eV by atomic number, which is taken from the energies of the atoms


@dataclass(frozen=True)
class Samples:
    """What a force field says along a path."""

    energies: np.ndarray  # [M] eV, total
    atomic: np.ndarray | None  # [M, N] eV; None for a force field without energies of atoms
    forces: np.ndarray  # [M] eV per unit: the force along the path


def sample(path: Path, calculator: BaseCalculator) -> Samples:
    """Energies and forces along a path."""
    energies, atomic, forces = [], [], []
    for structure, tangent in zip(path.structures, path.tangents, strict=True):
        atoms = bare(structure)
        atoms.calc = calculator
        energies.append(float(atoms.get_potential_energy()))
        forces.append(float((atoms.get_forces() * tangent).sum()))
        if "energies" in calculator.results:
            atomic.append(np.array(calculator.results["energies"], dtype=float))
    return Samples(np.array(energies), np.stack(atomic) if atomic else None, np.array(forces))


def samples_of(paths: Sequence[Path], calculators: Mapping[str, BaseCalculator]) -> dict[str, list[Samples]]:
    """The samples of every path by the name of the force field."""
    total, done = len(paths) * len(calculators), 0
    found: dict[str, list[Samples]] = {name: [] for name in calculators}
    with Progress("paths", 0, total, "path") as progress:
        for name, calculator in calculators.items():
            for path in paths:
                found[name].append(sample(path, calculator))
                done += 1
                progress.show(done, lambda done=done, name=name: f"{done} of {total} paths ({name})")  # type: ignore[misc]
    return found


def errors_along(
    path: Path, student: Samples, teacher: Samples, zero: Shift, shift: Shift | None, conservative: bool
) -> PathErrors:
    """The error of a student along a path.

    zero: the student's reference energies; shift: what aligns the teacher's atomic energies with the student's zero,
    None where that is not known: then total energies are compared as they are, and there is no atomic error.
    """
    numbers = path.structures[0].numbers.tolist()
    energies, atomic = student.energies - teacher.energies, None
    if shift is not None and student.atomic is not None and teacher.atomic is not None:
        apart = np.array([shift.get(z, 0.0) - zero.get(z, 0.0) for z in numbers])
        errors = student.atomic - teacher.atomic + apart
        seen = errors if path.periodic else np.apply_along_axis(windowed, 0, errors)  # as their sum, the energy error
        energies, atomic = errors.sum(axis=1), float((seen**2).mean(axis=0).sum())
    forces = student.forces - teacher.forces if conservative else None
    return PathErrors(energies, forces, atomic, len(numbers), path.length, path.periodic)
