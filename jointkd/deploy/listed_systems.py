"""Structures on any device: each has a neighbour list with a skin, and the pairs of all are evaluated together."""

import numpy as np
import torch

from jointkd.deploy.evaluator import Results
from jointkd.deploy.model import Model
from jointkd.deploy.skin import NearPairs, SkinNeighbors
from jointkd.deploy.systems import Systems
from jointkd.errors import DataError

NO_PAIRS = NearPairs(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty((0, 3)))


class ListedSystems:
    """Evaluates structures together, whatever the form of the student. skin: Å."""

    def __init__(self, model: Model, skin: float) -> None:
        self.model, self.skin = model, skin
        self.neighbors: list[SkinNeighbors] = []
        self.lost: dict[int, DataError] = {}  # why the neighbours of a structure cannot be found; it then has none

    def forget(self) -> None:
        """Search all neighbours anew at the next call, so that its results depend on the positions alone."""
        self.neighbors = []

    def __call__(self, systems: Systems, positions: np.ndarray) -> Results:
        """positions [N, 3] Å; the virial is that of all structures. See also `lost`."""
        if len(self.neighbors) != len(systems.cells):
            cutoff, most = self.model.cutoff, self.model.max_neighbors
            self.neighbors = [SkinNeighbors(cutoff, self.skin, most) for _ in systems.cells]
        self.lost = {}
        found = [self._pairs(number, systems, positions) for number in range(len(self.neighbors))]
        source = np.concatenate([each.source + start for each, start in zip(found, systems.first, strict=False)])
        target = np.concatenate([each.target + start for each, start in zip(found, systems.first, strict=False)])
        vectors = torch.from_numpy(np.concatenate([each.vectors for each in found]))
        indices = (torch.from_numpy(index).to(self.model.device) for index in (source, target, systems.numbers))
        outputs = self.model.form(vectors.to(self.model.device, self.model.dtype), *indices)
        return Results(*(output.double().cpu().numpy() for output in outputs if output is not None))

    def _pairs(self, number: int, systems: Systems, positions: np.ndarray) -> NearPairs:
        own = positions[systems.first[number] : systems.first[number + 1]]
        if not np.isfinite(own).all():
            return NO_PAIRS
        try:
            return self.neighbors[number].pairs(own, systems.cells[number], systems.pbc[number])
        except DataError as error:  # also of a sound cell, from which an atom has flown away
            self.lost[number] = error
            return NO_PAIRS
