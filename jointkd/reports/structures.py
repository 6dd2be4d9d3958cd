"""What a run recorded of each test structure (test.csv), and how far its mean errors depend on their choice."""

import csv
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jointkd.errors import first_line
from jointkd.files.run_files import TESTED_STRUCTURES

log = logging.getLogger(__name__)

REPLICATES = 1000  # of the bootstrap
LEVELS = (2.5, 97.5)  # %


@dataclass(frozen=True)
class TestedStructures:
    """Arrays over the test structures [M] of a run."""

    __test__ = False  # for pytest: no class of tests

    formulas: list[str]
    atoms: np.ndarray
    energies: np.ndarray  # eV, reference totals
    predicted: np.ndarray  # eV
    zeros: np.ndarray  # eV, sums of the reference energies of the atoms
    force_maes: np.ndarray  # meV/Å, over the components of a structure

    @classmethod
    def read(cls, folder: Path) -> "TestedStructures | None":
        """What the folder of a run has; None, with a line if it is damaged, without."""
        file = folder / TESTED_STRUCTURES
        if not file.exists():
            return None
        try:
            with file.open(encoding="utf-8", newline="") as opened:
                rows = list(csv.DictReader(opened))
            names = ("atoms", "energy_eV", "predicted_energy_eV", "zero_eV", "force_mae_meV_per_A")
            columns = [np.array([float(row[name]) for row in rows]) for name in names]
            formulas = [row["formula"] for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is left out: it cannot be read (%s)", file, first_line(error))
            return None
        return cls(formulas, *columns) if rows else None

    def errors(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By metric [M] values and weights, of which the metric is the weighted mean."""
        absolute = 1e3 * np.abs(self.predicted - self.energies)
        ones = np.ones_like(absolute)
        return {
            "energy_mae_meV_per_atom": (absolute / self.atoms, ones),
            "energy_mae_meV": (absolute, ones),
            "force_mae_meV_per_A": (self.force_maes, self.atoms),
        }

    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % intervals of the metrics by a bootstrap over structures; none for a single structure."""
        count, errors = len(self.atoms), self.errors()
        rng = np.random.default_rng(0)
        weights = np.stack([weights for _, weights in errors.values()], axis=1)
        values = weights * np.stack([values for values, _ in errors.values()], axis=1)
        replicates = []
        for _ in range(REPLICATES if count > 1 else 0):  # one after the other: there may be very many structures
            drawn = np.bincount(rng.integers(count, size=count), minlength=count).astype(float)
            replicates.append((drawn @ values) / (drawn @ weights))
        ends = np.percentile(replicates, LEVELS, axis=0).T.tolist() if replicates else []
        return {name: tuple(pair) for name, pair in zip(errors, ends, strict=False)}
