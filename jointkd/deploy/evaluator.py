"""Energies, forces and virial of atoms that move: neighbours with a skin, then a student as a function of pairs."""

from typing import NamedTuple

import numpy as np
import torch

from jointkd.deploy.pair_form import PairForm
from jointkd.deploy.skin import NearPairs, SkinNeighbors

SKIN = 1.0  # Å; a search serves until an atom has moved by half of it


class Results(NamedTuple):
    """Energies, forces and virial of one structure, in float64."""

    atomic_energies: np.ndarray  # [N] eV, relative to the reference energies
    forces: np.ndarray  # [N, 3] eV/Å
    virial: np.ndarray  # [3, 3] eV; zero for a student with a force head
    force_uncertainty: np.ndarray | None = None  # [N] eV/Å, see `ForceUncertainty`; None where the form has none


class Evaluator:
    """What every simulation program calls, step by step; it may be given another structure at any time.

    Vectors between atoms are differences in float64, cast to the student's precision: differences of float32 positions
    would lose a digit with every decade of the distance from the origin.
    """

    def __init__(self, form: PairForm, neighbors: SkinNeighbors, device: str, dtype: torch.dtype) -> None:
        self.form, self.neighbors = form, neighbors
        self.device, self.dtype = device, dtype

    def __call__(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Results:
        """numbers [N]; positions [N, 3] Å; cell [3, 3] Å; pbc [3]. Raises DataError for a cell that is not sound."""
        return self.evaluated(self.form, numbers, self.neighbors.pairs(positions, cell, pbc))

    def evaluated(self, form: PairForm, numbers: np.ndarray, pairs: NearPairs) -> Results:
        """What a form finds for atoms of these numbers [N] and pairs."""
        outputs = form(
            torch.from_numpy(pairs.vectors).to(self.device, self.dtype),
            *(torch.from_numpy(index).to(self.device) for index in (pairs.source, pairs.target, numbers)),
        )
        return Results(*(output.double().cpu().numpy() for output in outputs if output is not None))
