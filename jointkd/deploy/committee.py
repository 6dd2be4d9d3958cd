"""Several students of the same elements as one ASE calculator: their mean, and how far they are from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes

from jointkd.deploy.ase import JointKD
from jointkd.deploy.ase_calculator import StudentCalculator
from jointkd.errors import ConfigError, DataError
from jointkd.trust import Consent

SAME = 1e-6  # eV; reference energies that differ by less are the same


class Committee(StudentCalculator):
    """The mean of several students: energy, energies, forces, and stress where all of them have it.

    `results` also holds energy_uncertainty, the standard deviation of the members' total energies (eV), and
    force_uncertainty [N], for each atom the root of the mean squared distance of the members' forces from their mean
    (eV/Å). Both are zero where all students agree, which does not mean that they are right. Arguments and errors are
    those of `JointKD`, for every student. Raises ConfigError for fewer than two students, and DataError where their
    elements or reference energies differ: their total energies would have different zeros.
    """

    def __init__(
        self,
        students: Sequence[str | Path],
        device: str | None = None,
        dtype: str | None = None,
        trust: Consent = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if len(students) < 2:
            raise ConfigError(f"a committee of {len(students)} has no spread", "give two or more students")
        self.members = [JointKD(student, device, dtype, trust) for student in students]
        for path, member in zip(students[1:], self.members[1:], strict=True):
            check_zero(self.members[0], member, students[0], path)
        common = set.intersection(*(set(member.implemented_properties) for member in self.members))
        common -= {"force_uncertainty"}  # that of the members together takes the place of their own
        self.averaged = [name for name in self.members[0].implemented_properties if name in common]
        self.implemented_properties = [*self.averaged, "energy_uncertainty", "force_uncertainty"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute all properties of `atoms` into `results`; ASE calls this. Raises as `JointKD.calculate` does."""
        super().calculate(atoms, properties, system_changes)
        for member in self.members:
            member.calculate(self.atoms, properties, system_changes)
        found = [member.results for member in self.members]
        energies, forces = ([result[name] for result in found] for name in ("energy", "forces"))
        self.results = {
            name: np.mean([result[name] for result in found], axis=0) for name in self.averaged if name in found[0]
        }
        self.results["energy_uncertainty"] = float(np.std(energies))
        self.results["force_uncertainty"] = force_uncertainty(np.stack(forces))

    def get_hessian(self, atoms: Atoms) -> np.ndarray:
        """The mean of the members' Hessians, [3N, 3N] eV/Å²; see `JointKD.get_hessian`."""
        return np.mean([member.get_hessian(atoms) for member in self.members], axis=0)


def force_uncertainty(forces: np.ndarray) -> np.ndarray:
    """[N] eV/Å: the root of the mean squared distance of forces [members, N, 3] from their mean, for each atom."""
    return np.sqrt(np.square(forces - forces.mean(0)).sum(2).mean(0))


def check_zero(first: JointKD, other: JointKD, *paths: str | Path) -> None:
    """Raise DataError unless two students have the same elements and reference energies."""
    ours, theirs = (student.references for student in (first, other))
    remedy = "train the members of a committee on the same data with different seeds"
    if ours.keys() != theirs.keys() or first.model.elements != other.model.elements:
        raise DataError(f"{paths[1]} has other elements than {paths[0]}", remedy)
    apart = {z: abs(ours[z] - theirs[z]) for z in ours}
    if apart and max(apart.values()) > SAME:
        most = max(apart, key=apart.__getitem__)
        raise DataError(
            f"{paths[1]} has other reference energies than {paths[0]} (of element {most} by {apart[most]:.3g} eV)",
            remedy,
        )
