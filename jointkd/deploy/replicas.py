"""Several structures by one call of a student: replicas of a simulation, or starts of a sampling."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes

from jointkd.deploy.ase_calculator import StudentCalculator
from jointkd.deploy.evaluator import SKIN
from jointkd.deploy.evaluators import graphed_systems_of
from jointkd.deploy.listed_systems import ListedSystems
from jointkd.deploy.model import Model, check_atoms
from jointkd.deploy.systems import Systems
from jointkd.errors import DataError
from jointkd.structures.cells import cell_fault


class ReplicaResults(NamedTuple):
    """Energies and forces of B structures with N atoms in all, in float64; NaN for structures that are lost."""

    energies: np.ndarray  # [B] eV, relative to the reference energies
    atomic_energies: np.ndarray  # [N] eV, relative to the reference energies
    forces: np.ndarray  # [N, 3] eV/Å
    force_uncertainty: np.ndarray | None = None  # [N] eV/Å, see `ForceUncertainty`; None where the form has none


class ReplicaEvaluator:
    """As `Evaluator`, for several structures at once, which may differ in size, elements and cell.

    A structure whose neighbours cannot be found, because a position is not finite or absurdly far, is lost: its results
    are NaN, and those of the others do not change.
    """

    def __init__(self, model: Model, structures: Sequence[Atoms], skin: float = SKIN) -> None:
        """Raises DataError for a structure that the student cannot evaluate. skin: Å, where there is no GPU."""
        self.model = model
        self.sizes = [len(atoms) for atoms in structures]
        self.first = np.cumsum([0, *self.sizes])  # [B + 1] the first atom of each structure, and N
        for atoms in structures:
            check_atoms(atoms.numbers, atoms.positions, model.saved.reference_energies, model.elements)
            if fault := cell_fault(atoms.positions, atoms.cell.array, atoms.pbc, model.cutoff):
                raise DataError(f"the neighbours of a structure cannot be found: {fault}", "correct its cell")
        self.systems = Systems(
            np.concatenate([atoms.numbers for atoms in structures]).astype(np.int64),
            self.first,
            np.stack([atoms.cell.array for atoms in structures]),
            np.stack([atoms.pbc for atoms in structures]),
        )
        self.together = graphed_systems_of(model) or ListedSystems(model, skin)

    def forget_neighbors(self) -> None:
        """Search all neighbours anew at the next call, so that its results depend on the positions alone."""
        self.together.forget()

    def __call__(self, positions: np.ndarray) -> ReplicaResults:
        """positions [N, 3] Å, of one structure after the other."""
        energies, forces, _, uncertainty = self.together(self.systems, positions)
        arrays = [array for array in (energies, forces, uncertainty) if array is not None]
        lost = ~np.logical_and.reduceat(np.isfinite(positions).all(1), self.first[:-1])
        lost[list(self.together.lost)] = True
        for array in arrays:
            array[np.repeat(lost, self.sizes)] = np.nan
        return ReplicaResults(np.add.reduceat(energies, self.first[:-1]), *arrays)

    def atoms_of(self, number: int) -> slice:
        """Where the atoms of a structure are among those of all."""
        return slice(int(self.first[number]), int(self.first[number + 1]))


class ReplicaCalculator(StudentCalculator):
    """An ASE calculator of all structures as the one non-periodic `Atoms` of `joined`; it holds their cells itself.

    Its results are energy (total, eV, of all structures), energies (of atoms, eV), forces (eV/Å) and replica_energies
    (of structures, eV).
    """

    def __init__(self, model: Model, structures: Sequence[Atoms], skin: float = SKIN) -> None:
        """Raises DataError as `ReplicaEvaluator` does."""
        super().__init__()
        self.implemented_properties = ["energy", "free_energy", "energies", "forces"]
        self.model, self.evaluator = model, ReplicaEvaluator(model, structures, skin)
        known = model.saved.reference_energies
        self.references = np.array([known.get(z, 0.0) for atoms in structures for z in atoms.numbers.tolist()])

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: tuple[str, ...] = ("energy",),
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute all properties into `results`; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        predicted = self.evaluator(self.atoms.positions)
        energies = predicted.atomic_energies + self.references
        total = float(energies.sum())
        self.results = {
            "energy": total,
            "free_energy": total,
            "energies": energies,
            "forces": predicted.forces,
            "replica_energies": np.add.reduceat(energies, self.evaluator.first[:-1]),
        }

    def forget(self) -> None:
        """Compute everything anew at the next call, also the neighbours."""
        self.reset()
        self.evaluator.forget_neighbors()


def joined(structures: Sequence[Atoms]) -> Atoms:
    """The atoms of several structures as one without a cell, with their masses and momenta and without constraints."""
    atoms = Atoms(
        np.concatenate([each.numbers for each in structures]), np.concatenate([each.positions for each in structures])
    )
    atoms.set_masses(np.concatenate([each.get_masses() for each in structures]))
    atoms.set_momenta(np.concatenate([each.get_momenta() for each in structures]))
    return atoms
