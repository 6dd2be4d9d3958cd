"""The evaluator of a GPU for one structure after another."""

import numpy as np

from jointkd.deploy.evaluator import Results
from jointkd.deploy.graphed_systems import GraphedSystems
from jointkd.deploy.systems import Systems


class GraphedEvaluator:
    """As `Evaluator`, by the CUDA graph of `GraphedSystems`."""

    def __init__(self, systems: GraphedSystems) -> None:
        self.systems = systems

    @property
    def searches(self) -> int:
        """How often neighbours have been searched."""
        return self.systems.searches

    def __call__(self, numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Results:
        """numbers [N]; positions [N, 3] Å; cell [3, 3] Å; pbc [3]. Raises DataError for a cell that is not sound."""
        one = Systems(numbers, np.array([0, len(numbers)]), np.asarray(cell)[None], np.asarray(pbc)[None])
        found = self.systems(one, positions)
        for error in self.systems.lost.values():
            raise error
        return found
