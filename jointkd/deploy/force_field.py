"""A student's total energies, forces and virial of atoms: what the interface to each engine calls."""

from pathlib import Path

import numpy as np

from jointkd.deploy.evaluator import Results
from jointkd.deploy.evaluators import evaluator_of
from jointkd.deploy.model import check_atoms, load_model
from jointkd.errors import ConfigError
from jointkd.students.energy_zero import EnergyZero
from jointkd.trust import Consent

NOWHERE = np.empty((0, 3))  # positions where elements alone are to be checked


class ForceField:
    """A student that was loaded, as a function of atoms with a state of its own (its neighbours).

    student: the folder of a finished run, a student's file, or a package; device, dtype, trust: see `load_model`,
    which says what is raised. Raises ConfigError for several students.
    """

    def __init__(
        self, student: str | Path, device: str | None = None, dtype: str | None = None, trust: Consent = None
    ) -> None:
        if not isinstance(student, str | Path):
            raise ConfigError(f"{student!r:.80} is not one student", "give one path; load([…]).ase() takes many")
        self.model = load_model(Path(student), device, dtype, trust)
        self.references = self.model.saved.reference_energies  # of some imported files empty: totals then lack them
        self.zero = EnergyZero(self.model.saved.undetermined)
        self.evaluator = evaluator_of(self.model)

    def __call__(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Results:
        """Results with total atomic energies, reference energies included. Raises DataError; see `check`.

        numbers [N]; positions [N, 3] Å; cell [3, 3] Å; pbc [3].
        """
        self.check(numbers, positions)
        predicted = self.evaluator(numbers, positions, cell, pbc)
        self.zero.check(numbers)
        references = [self.references.get(z, 0.0) for z in numbers.tolist()]
        return predicted._replace(atomic_energies=predicted.atomic_energies + references)

    def check(self, numbers: np.ndarray, positions: np.ndarray = NOWHERE) -> None:
        """Raise DataError for elements on which the student was not trained, and for positions that are not finite."""
        check_atoms(numbers, positions, self.references, self.model.elements)
