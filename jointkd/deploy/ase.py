"""A student as an ASE calculator: `atoms.calc = JointKD("outputs/NAME/DATE")`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from jointkd.deploy.ase_calculator import StudentCalculator
from jointkd.deploy.force_field import ForceField
from jointkd.deploy.pair_form import structure_of
from jointkd.deploy.skin import SkinNeighbors
from jointkd.errors import ConfigError
from jointkd.students.derivatives import predict
from jointkd.trust import Consent


class JointKD(StudentCalculator):
    """An ASE calculator of energy (total, eV), energies (of atoms, which sum to the energy, eV), forces (eV/Å) and, for
    conservative students and structures with a cell, stress (eV/Å³); see also `get_hessian`. Where the student's file
    has it, results["force_uncertainty"] says how uncertain the force on each atom is (eV/Å, see `ForceUncertainty`).

    student: the folder of a finished run, a student's file, or a package of `python -m jointkd.export`; device: cuda if
    available, else cpu; dtype: float32 (default) or float64; a package has a device and a dtype of its own; trust:
    import paths of classes of your own that the file may name, or True for a package, whose code runs. Raises
    ConfigError for a device that is not here or not the package's, and DataError for a file that is not a student's,
    for one that is not trusted, for elements on which it was not trained, and for positions that are not finite.
    """

    def __init__(
        self,
        student: str | Path,
        device: str | None = None,
        dtype: str | None = None,
        trust: Consent = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.force_field = ForceField(student, device, dtype, trust)
        self.model = self.force_field.model
        self.student = self.model.student  # None for a package
        self.references = self.force_field.references
        self.origin = self.model.saved.origin
        self.implemented_properties = ["energy", "free_energy", "energies", "forces"]
        if self.model.conservative:
            self.implemented_properties.append("stress")
        if self.model.gives_uncertainty:
            self.implemented_properties.append("force_uncertainty")

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
        predicted = self.force_field(system.numbers, system.positions, system.cell.array, system.pbc)
        energies, total = predicted.atomic_energies, float(predicted.atomic_energies.sum())
        self.results = {"energy": total, "free_energy": total, "energies": energies, "forces": predicted.forces}
        if self.model.conservative and solid:
            self.results["stress"] = full_3x3_to_voigt_6_stress(predicted.virial / system.get_volume())
        if predicted.force_uncertainty is not None:
            self.results["force_uncertainty"] = predicted.force_uncertainty

    def get_hessian(self, atoms: Atoms, rows: Sequence[int] | None = None) -> np.ndarray:
        """The exact Hessian H = +∂²E/∂R² [3N, 3N] in eV/Å², row and column 3 · atom + axis, as ASE orders them.

        rows: only these, [K, 3N].

        `VibrationsData.from_2d(atoms, calculator.get_hessian(atoms))` has the vibrations. For a periodic structure
        images move together (the Γ point). With a force head it is −∂F/∂R, which need not be symmetric: row
        3 · atom + axis belongs to the force on that atom. In float32 entries are accurate to about 1e-4 eV/Å².
        """
        if self.student is None:
            raise ConfigError("an exported package has no Hessian", "load the student's file for it")
        self.force_field.check(atoms.numbers, atoms.positions)
        near = SkinNeighbors(self.model.cutoff, 0.0, self.model.max_neighbors)
        pairs = near.pairs(atoms.positions, atoms.cell.array, atoms.pbc)
        vectors = torch.from_numpy(pairs.vectors).to(self.model.device, self.model.dtype)
        ends = (torch.from_numpy(index).to(self.model.device) for index in (pairs.source, pairs.target, atoms.numbers))
        batch = structure_of(vectors, *ends)
        wanted = torch.tensor(range(3 * len(atoms)) if rows is None else rows, device=self.model.device)
        found = predict(self.student, batch, wanted[None]).hessian_rows
        assert found is not None
        return found.transpose(0, 1).flatten(1).double().cpu().numpy()
