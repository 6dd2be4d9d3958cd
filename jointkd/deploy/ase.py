"""A student as an ASE calculator: `atoms.calc = JointKD("outputs/NAME/DATE")`."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from jointkd.errors import ConfigError, DataError
from jointkd.structures.batch import Structure, collate
from jointkd.structures.neighbors import neighbors
from jointkd.students.base import Student
from jointkd.students.derivatives import predict
from jointkd.students.student_file import load_student


class JointKD(Calculator):
    """An ASE calculator of energy (total, eV), energies (of atoms, relative to their reference energies, eV), forces
    (eV/Å) and, for conservative students, stress (eV/Å³).

    student: the folder of a finished run, or a student's file; device: cuda if available, else cpu; dtype: float32 or
    float64; trust: import paths of classes of your own that the file may name. Raises DataError for a file that is not
    a student's, for one of a class that is not trusted, and for elements on which it was not trained.
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
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = {"float32": torch.float32, "float64": torch.float64}[dtype]
        module, saved = load_student(Path(student), trust or ())
        self.references = saved.reference_energies  # empty in some imported files: total energies then lack them
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
        """Compute all properties of `atoms` into `results`; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        system: Any = self.atoms  # the copy that ASE made
        batch = self._batch(system)
        prediction = predict(self.student, batch)
        assert prediction.forces is not None
        energies = prediction.atomic_energies.double().cpu().numpy()
        total = float(energies.sum() + sum(self.references.get(int(z), 0.0) for z in system.numbers))
        self.results = {
            "energy": total,
            "free_energy": total,
            "energies": energies,
            "forces": prediction.forces.double().cpu().numpy(),
        }
        if "stress" in properties:
            unstrained = torch.zeros(3, 3, dtype=self.dtype, device=self.device)
            virial = torch.func.grad(strained_energy)(unstrained, self.student, batch)
            self.results["stress"] = full_3x3_to_voigt_6_stress(virial.double().cpu().numpy() / system.get_volume())

    def _batch(self, atoms: Atoms) -> Structure:
        unknown = sorted(set(atoms.numbers.tolist()) - self.references.keys())
        if self.references and unknown:
            known = " ".join(chemical_symbols[z] for z in sorted(self.references))
            raise DataError(
                f"the student was not trained on {chemical_symbols[unknown[0]]}", f"give structures of {known} only"
            )
        student = self.student
        edges = neighbors(atoms.positions, atoms.cell.array, atoms.pbc, student.cutoff, student.max_neighbors)
        return collate([Structure.from_arrays(atoms.numbers, atoms.positions, edges)], self.dtype).to(self.device)


def strained_energy(strain: Tensor, student: Student, batch: Structure) -> Tensor:
    """The energy (eV) of a batch of one structure under the symmetric part of a strain [3, 3]."""
    deformation = torch.eye(3, dtype=strain.dtype, device=strain.device) + (strain + strain.T) / 2
    deformed = replace(batch, edge_shift=batch.edge_shift @ deformation)
    return student(batch.positions @ deformation, deformed).atomic_energies.sum()
