"""Several structures by one call of a student: replicas of a simulation, or starts of a sampling."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from jointkd.deploy.evaluator import SKIN
from jointkd.deploy.model import Model, check_atoms
from jointkd.deploy.skin import NearPairs, SkinNeighbors
from jointkd.errors import DataError

NO_PAIRS = NearPairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty((0, 3)))


class ReplicaResults(NamedTuple):
    """Energies and forces of B structures with N atoms in all, in float64; NaN for structures that are lost."""

    energies: np.ndarray  # [B] eV, relative to the reference energies
    atomic_energies: np.ndarray  # [N] eV, relative to the reference energies
    forces: np.ndarray  # [N, 3] eV/Å
    force_uncertainty: np.ndarray | None = None  # [N] eV/Å, see `ForceUncertainty`; None where the form has none


class ReplicaEvaluator:
    """As `Evaluator`, for several structures at once, which may differ in size, elements and cell.

    Each has a neighbour list with a skin of its own; the pairs of all are evaluated together. A structure whose
    neighbours cannot be found, because a position is not finite or absurdly far, is lost: its results are NaN, and
    those of the others do not change.
    """

    def __init__(self, model: Model, structures: Sequence[Atoms], skin: float = SKIN) -> None:
        """Raises DataError for a structure that the student cannot evaluate. skin: Å."""
        self.model, self.skin = model, skin
        self.sizes = [len(atoms) for atoms in structures]
        self.first = np.cumsum([0, *self.sizes])  # [B + 1] the first atom of each structure, and N
        self.cells = [(atoms.cell.array.copy(), atoms.pbc.copy()) for atoms in structures]
        numbers = np.concatenate([atoms.numbers for atoms in structures]).astype(np.int64)
        self._numbers = torch.from_numpy(numbers).to(model.device)
        self.forget_neighbors()
        for atoms, near, cell in zip(structures, self.neighbors, self.cells, strict=True):
            check_atoms(atoms.numbers, atoms.positions, model.saved.reference_energies, model.elements)
            near.pairs(atoms.positions, *cell)

    def forget_neighbors(self) -> None:
        """Search all neighbours anew at the next call, so that its results depend on the positions alone."""
        cutoff, most = self.model.cutoff, self.model.max_neighbors
        self.neighbors = [SkinNeighbors(cutoff, self.skin, most) for _ in self.cells]

    def __call__(self, positions: np.ndarray) -> ReplicaResults:
        """positions [N, 3] Å, of one structure after the other."""
        found = [self._pairs(number, positions[self.atoms_of(number)]) for number in range(len(self.sizes))]
        pairs = [NO_PAIRS if each is None else each for each in found]
        first = self.first[:-1]
        source = np.concatenate([each.source + start for each, start in zip(pairs, first, strict=True)])
        target = np.concatenate([each.target + start for each, start in zip(pairs, first, strict=True)])
        vectors = np.concatenate([each.vectors for each in pairs])
        ends = torch.from_numpy(np.stack([source, target])).to(self.model.device)
        outputs = self.model.form(
            torch.from_numpy(vectors).to(self.model.device, self.model.dtype), ends[0], ends[1], self._numbers
        )
        arrays = [output.double().cpu().numpy() for output in (*outputs[:2], *outputs[3:]) if output is not None]
        for number, each in enumerate(found):
            if each is None:
                for array in arrays:
                    array[self.atoms_of(number)] = np.nan
        return ReplicaResults(np.add.reduceat(arrays[0], first), *arrays)

    def atoms_of(self, number: int) -> slice:
        """Where the atoms of a structure are among those of all."""
        return slice(int(self.first[number]), int(self.first[number + 1]))

    def _pairs(self, number: int, positions: np.ndarray) -> NearPairs | None:
        if not np.isfinite(positions).all():
            return None
        try:
            return self.neighbors[number].pairs(positions, *self.cells[number])
        except DataError:  # the cell was sound at first: an atom has flown away
            return None


class ReplicaCalculator(Calculator):
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
