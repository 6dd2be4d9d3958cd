"""A student's total energies, forces and virial of atoms: what the interface to each engine calls."""

from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from jointkd.deploy.evaluator import Results
from jointkd.deploy.evaluators import evaluator_of
from jointkd.deploy.model import load_model
from jointkd.errors import DataError
from jointkd.students.energy_zero import EnergyZero
from jointkd.trust import Consent


class ForceField:
    """A student that was loaded, as a function of atoms with a state of its own (its neighbours).

    student: the folder of a finished run, a student's file, or a package; device, dtype, trust: see `load_model`,
    which says what is raised.
    """

    def __init__(
        self, student: str | Path, device: str | None = None, dtype: str | None = None, trust: Consent = None
    ) -> None:
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

    def check(self, numbers: np.ndarray, positions: np.ndarray) -> None:
        """Raise DataError for elements on which the student was not trained, and for positions that are not finite."""
        self.check_elements(numbers)
        if not np.isfinite(positions).all():
            raise DataError("positions of atoms are not finite", "see to the forces and the size of the step before")

    def check_elements(self, numbers: np.ndarray) -> None:
        """Raise DataError for elements on which the student was not trained."""
        trained = sorted(self.references) or range(1, self.model.elements + 1)
        unknown = sorted(set(numbers.tolist()).difference(trained))
        if unknown:
            known = " ".join(chemical_symbols[z] for z in sorted(self.references)) or f"elements 1 to {trained[-1]}"
            raise DataError(
                f"the student was not trained on {chemical_symbols[unknown[0]]}", f"give structures of {known} only"
            )
