"""Some atoms of a structure: their energies, and the forces that these exert, from the atoms on which they depend."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jointkd.deploy.evaluator import SKIN, Evaluator, Results
from jointkd.deploy.model import Model
from jointkd.deploy.pair_form import EagerForm
from jointkd.deploy.skin import NearPairs, SkinNeighbors
from jointkd.errors import ConfigError
from jointkd.structures.batch import Prediction
from jointkd.students.base import Student
from jointkd.students.uncertainty import TraceableUncertainty


class Part(NamedTuple):
    """The atoms on which the energies of some of them depend, and the pairs that matter."""

    atoms: np.ndarray  # [M] numbers in the whole structure, ascending
    pairs: NearPairs  # of atoms numbered as in `atoms`


def part_of(pairs: NearPairs, own: np.ndarray, hops: int) -> Part:
    """The part of a structure that decides the energies of its own atoms. pairs: of the structure; own: [N] bool.

    hops: of the student; an atom's energy depends on the pairs of atoms that are fewer than so many pairs away.
    """
    reached, matter = own.copy(), np.zeros(len(pairs.source), dtype=bool)
    for _ in range(hops):
        matter = reached[pairs.source] | reached[pairs.target]
        reached[pairs.source[matter]] = reached[pairs.target[matter]] = True
    atoms = np.flatnonzero(reached)
    number = np.zeros(len(own), dtype=np.int64)
    number[atoms] = np.arange(len(atoms))
    source, target = number[pairs.source[matter]], number[pairs.target[matter]]
    return Part(atoms, NearPairs(source, target, pairs.vectors[matter]))


class OwnForm(EagerForm):
    """A student of which some atoms count: energies, and forces of a head, are zero for others. own: [N] bool."""

    def __init__(self, student: Student, own: Tensor, uncertainty: TraceableUncertainty | None = None) -> None:
        super().__init__(student, uncertainty)
        self.own = own

    def predict(self, vectors: Tensor, source: Tensor, target: Tensor, atomic_numbers: Tensor) -> Prediction:
        found = super().predict(vectors, source, target, atomic_numbers)
        forces = None if found.forces is None else found.forces.where(self.own[:, None], 0)
        return found._replace(atomic_energies=found.atomic_energies.where(self.own, 0), forces=forces)


class PartEvaluator(Evaluator):
    """As `Evaluator`, for some atoms of a structure. Raises ConfigError for packages and students without `hops`.

    A package has the gradient of the energy of all atoms alone.
    """

    def __init__(self, model: Model) -> None:
        hops = getattr(model.student, "hops", None)
        if model.student is None or hops is None:
            kind = "a package" if model.student is None else "a student without hops"
            raise ConfigError(
                f"{kind} cannot be divided among MPI ranks", "give the file of a PaiNN or GemNet, or start one rank"
            )
        near = SkinNeighbors(model.cutoff, SKIN, model.max_neighbors)
        super().__init__(model.form, near, model.device, model.dtype)
        self.student, self.uncertainty, self.hops = model.student, model.uncertainty, hops
        self.computed = 0  # how many atoms the last call computed

    def of_part(
        self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, own: np.ndarray
    ) -> Results:
        """Energies and uncertainties of the own atoms, what these contribute to the virial and to the forces on all N.

        numbers [N]; positions [N, 3] Å; cell [3, 3] Å; pbc [3]; own [N] bool. Raises DataError as `Evaluator` does.
        """
        atoms, pairs = part_of(self.neighbors.pairs(positions, cell, pbc), own, self.hops)
        self.computed = len(atoms)
        if not len(atoms):
            none = None if self.uncertainty is None else np.zeros(0)
            return Results(np.zeros(0), np.zeros((len(numbers), 3)), np.zeros((3, 3)), none)
        counts = own[atoms]
        form = OwnForm(self.student, torch.from_numpy(counts).to(self.device), self.uncertainty)
        found = self.evaluated(form, numbers[atoms], pairs)
        forces = np.zeros((len(numbers), 3))
        forces[atoms] = found.forces
        uncertainty = None if found.force_uncertainty is None else found.force_uncertainty[counts]
        return Results(found.atomic_energies[counts], forces, found.virial, uncertainty)
