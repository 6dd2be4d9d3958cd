"""A student as an ASE calculator: `atoms.calc = JointKD("outputs/NAME/DATE")`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress

from jointkd.errors import ConfigError, DataError
from jointkd.runtime import device_of
from jointkd.structures.batch import Structure, collate
from jointkd.structures.neighbors import neighbors
from jointkd.students.base import Student
from jointkd.students.derivatives import predict, predict_with_virial
from jointkd.students.energy_zero import EnergyZero
from jointkd.students.student_file import load_student


class JointKD(Calculator):
    """An ASE calculator of energy (total, eV), energies (of atoms, which sum to the energy, eV), forces (eV/Å) and, for
    conservative students and structures with a cell, stress (eV/Å³); see also `get_hessian`.

    student: the folder of a finished run, or a student's file; device: cuda if available, else cpu; dtype: float32 or
    float64; trust: import paths of classes of your own that the file may name. Raises ConfigError for a device that is
    not here, and DataError for a file that is not a student's, for one of a class that is not trusted, for elements on
    which it was not trained, and for positions that are not finite.
    """

    def __init__(
        self,
        student: str | Path,
        device: str | None = None,
        dtype: str = "float32",
        trust: str | Iterable[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype={dtype} is not known", "choose float32 or float64")
        self.device = device_of(device)
        self.dtype = {"float32": torch.float32, "float64": torch.float64}[dtype]
        module, saved = load_student(Path(student), trust or ())
        self.references = saved.reference_energies  # empty in some imported files: total energies then lack them
        self.origin = saved.origin
        self.zero = EnergyZero(saved.undetermined)
        module = module.to(device=self.device, dtype=self.dtype).eval().requires_grad_(False)
        self.student = cast(Student, module)
        self.implemented_properties = ["energy", "free_energy", "energies", "forces"]
        if self.student.conservative:
            self.implemented_properties.append("stress")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute all properties of `atoms` into `results`; ASE calls this.

        The stress comes with the forces, from the same gradient, wherever there is one. Raises
        PropertyNotImplementedError where a stress is asked for and the cell has no volume.
        """
        super().calculate(atoms, properties, system_changes)
        system: Any = self.atoms  # the copy that ASE made
        solid = system.cell.rank == 3
        if "stress" in properties and not solid:
            raise PropertyNotImplementedError("there is no stress without a cell of three vectors")
        batch = self._batch(system)
        virial = None
        if self.student.conservative and solid:
            prediction, virial = predict_with_virial(self.student, batch)
        else:
            prediction = predict(self.student, batch)
        assert prediction.forces is not None
        self.zero.check(system.numbers)
        free = np.array([self.references.get(z, 0.0) for z in system.numbers.tolist()])
        energies = prediction.atomic_energies.double().cpu().numpy() + free
        total = float(energies.sum())
        self.results = {
            "energy": total,
            "free_energy": total,
            "energies": energies,
            "forces": prediction.forces.double().cpu().numpy(),
        }
        if virial is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(virial.double().cpu().numpy() / system.get_volume())

    def get_hessian(self, atoms: Atoms) -> np.ndarray:
        """The exact Hessian H = +∂²E/∂R² [3N, 3N] in eV/Å², row and column 3 · atom + axis, as ASE orders them.

        `VibrationsData.from_2d(atoms, calculator.get_hessian(atoms))` has the vibrations. For a periodic structure
        images move together (the Γ point). With a force head it is −∂F/∂R, which need not be symmetric: row
        3 · atom + axis belongs to the force on that atom. In float32 entries are accurate to about 1e-4 eV/Å².
        """
        batch = self._batch(atoms)
        size = 3 * len(atoms)
        rows = predict(self.student, batch, torch.arange(size, device=self.device)[None]).hessian_rows
        assert rows is not None
        return rows.transpose(0, 1).reshape(size, size).double().cpu().numpy()

    def _batch(self, atoms: Atoms) -> Structure:
        """The structure as the student sees it. Raises DataError."""
        unknown = sorted(set(atoms.numbers.tolist()) - self.references.keys())
        if self.references and unknown:
            known = " ".join(chemical_symbols[z] for z in sorted(self.references))
            raise DataError(
                f"the student was not trained on {chemical_symbols[unknown[0]]}", f"give structures of {known} only"
            )
        if not np.isfinite(atoms.positions).all():
            raise DataError("positions of atoms are not finite", "see to the forces and the size of the step before")
        student = self.student
        edges = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, student.cutoff, student.max_neighbors)
        structure = Structure.from_vectors(atoms.numbers, atoms.positions, edges)
        return collate([structure], self.dtype).to(self.device)
