"""A teacher as an ASE calculator, so that it follows the same paths as its students."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

NO_ROWS = np.zeros(0, dtype=np.int64)


class TeacherCalculator(Calculator):
    """Energy (total, eV), forces (eV/Å) and, where the teacher has them, energies of the atoms relative to its free
    atoms (eV), from a teacher's labels. What the teacher cannot compute is not finite. Raises TeacherError."""

    def __init__(self, teacher: Teacher, **options: Any) -> None:
        super().__init__(**options)
        self.teacher = teacher
        self.implemented_properties = ["energy", "free_energy", "energies", "forces"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Label `atoms` without Hessian rows; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        system: Any = self.atoms  # the copy that ASE made
        frame = Frame(system.numbers.astype(np.int64), system.positions, system.cell.array, system.pbc)
        (labels,) = self.teacher.label([frame], [NO_ROWS])
        self.results = {"energy": labels.energy, "free_energy": labels.energy, "forces": np.asarray(labels.forces)}
        if self.teacher.identity.atomic_energies:
            self.results["energies"] = np.asarray(labels.atomic_energies)
