"""Diverse structures by farthest-point selection on their fingerprints."""

import numpy as np

from jointkd.structures.fingerprints import fingerprint
from jointkd.structures.frame import Frame


def displaced_by(frame: Frame, elements: np.ndarray, displacement: float, rng: np.random.Generator) -> float:
    """How far a fingerprint moves where all coordinates are displaced at random by so much (Å)."""
    moved = frame.positions + rng.normal(scale=displacement, size=frame.positions.shape)
    other = Frame(frame.numbers, moved, frame.cell, frame.pbc)
    return float(np.linalg.norm(fingerprint(other, elements) - fingerprint(frame, elements)))


def farthest(candidates: np.ndarray, known: np.ndarray, count: int, closest: float) -> list[int]:
    """Up to `count` of the candidates [C, D], one after the other the one that is farthest from all chosen and `known`.

    known: [K, D], K > 0; those that are not farther than `closest` from another one are duplicates.
    """
    chosen: list[int] = []
    distance = np.array([np.linalg.norm(known - candidate, axis=1).min() for candidate in candidates])
    while len(chosen) < count and distance.max(initial=0.0) > closest:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(candidates - candidates[chosen[-1]], axis=1))
    return chosen
