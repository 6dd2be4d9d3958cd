"""A teacher as an ASE calculator, so that it follows the same paths as its students."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import voigt_6_to_full_3x3_strain

from jointkd.labels.directions import NO_ROWS
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame, charge_entries
from jointkd.teachers.base import Teacher
from jointkd.teachers.charges import check_charges

STRAIN = 2e-3  # of the differences of the energy


class TeacherCalculator(Calculator):
    """Energy (total, eV), forces (eV/Å) and, where the teacher has them, energies of the atoms relative to its free
    atoms (eV), from a teacher's labels. What the teacher cannot compute is not finite. Raises TeacherError.

    Labels have no stress (eV/Å³), so each is twelve more labels: differences of the energy of strained structures.

    info: of the structure that the atoms come from, with its charge and spin; None: that of the atoms.
    """

    def __init__(self, teacher: Teacher, info: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.teacher, self.info = teacher, info
        self.implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Label `atoms` without Hessian rows; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        labels = self.labels_of(frame_of(self.atoms, self.info))
        energy, forces = labels.energy, np.asarray(labels.forces, dtype=float)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if self.teacher.identity.atomic_energies:
            self.results["energies"] = np.asarray(labels.atomic_energies)
        if "stress" in properties:
            self.results["stress"] = self._stress(self.atoms)

    def _stress(self, atoms: Atoms) -> np.ndarray:
        """[6] eV/Å³ in Voigt's order xx yy zz yz xz xy. Raises PropertyNotImplementedError without a volume."""
        if atoms.cell.rank < 3:
            raise PropertyNotImplementedError("there is no stress without a cell of three vectors")
        energies, strained = [], atoms.copy()
        for strain in STRAIN * np.concatenate([np.eye(6), -np.eye(6)]):
            deformation = voigt_6_to_full_3x3_strain(strain)
            strained.set_cell(atoms.cell.array @ deformation)
            strained.positions = atoms.positions @ deformation
            energies.append(self.labels_of(frame_of(strained, self.info)).energy)
        return np.subtract(energies[:6], energies[6:]) / (2 * STRAIN * atoms.get_volume())

    def labels_of(self, frame: Frame) -> TeacherLabels:
        """The teacher's labels of a structure, without rows. Raises TeacherError for a charge that it does not take."""
        check_charges([frame], self.teacher)
        (labels,) = self.teacher.label([frame], [NO_ROWS])
        return labels


def frame_of(atoms: Atoms, info: Mapping[str, Any] | None = None) -> Frame:
    """A structure as teachers take it. info: see `TeacherCalculator`."""
    numbers, cell = atoms.numbers.astype(np.int64), atoms.cell.array.copy()
    stated = charge_entries(atoms.info) if info is None else info
    return Frame(numbers, atoms.positions.copy(), cell, np.array(atoms.pbc), info=stated)
