"""How far a structure is from those that a student was trained on."""

from collections.abc import Iterable

import numpy as np

from jointkd.errors import DataError
from jointkd.structures.columns import evenly_spread
from jointkd.structures.fingerprints import MOST_KNOWN, fingerprint
from jointkd.structures.frame import Frame


class TrainingDistance:
    """The distance of structures from the nearest one of the training, by their fingerprints.

    Its unit is the median distance of structures of the training from their own nearest neighbours: at 1 a structure is
    as new as they are to each other. Raises DataError for fewer than two different structures.
    """

    def __init__(self, training: Iterable[Frame]) -> None:
        frames = evenly_spread(list(training), MOST_KNOWN)
        self.elements = np.unique(np.concatenate([[0], *(frame.numbers for frame in frames)]))[1:]
        self.known = np.array([fingerprint(frame, self.elements) for frame in frames])
        nearest = [
            np.delete(self._distances(own), number).min() for number, own in enumerate(self.known) if len(frames) > 1
        ]
        self.unit = float(np.median(nearest)) if nearest else 0.0
        if not self.unit:
            raise DataError(
                f"training has {len(frames)} structures, of which too few differ for a distance between them",
                "give all structures of the training",
            )

    def __call__(self, frame: Frame) -> float:
        """The distance of a structure; infinite for one with an element that the training has not."""
        if not np.isin(frame.numbers, self.elements).all():
            return np.inf
        return float(self._distances(fingerprint(frame, self.elements)).min()) / self.unit

    def _distances(self, point: np.ndarray) -> np.ndarray:
        return np.linalg.norm(self.known - point, axis=1)
