"""Diverse structures by farthest-point selection on a fingerprint of their interatomic distances.

The fingerprint needs no model and no further package, and does not depend on the order of atoms, rotations, the size of
a structure or its periodicity: for each pair of elements a smooth histogram of the distances, per atom (the radial part
of Behler and Parrinello's symmetry functions, summed over atoms). Near pairs weigh most, as they have most of the
energy. Descriptors of angles, as dscribe's, would also tell apart what this one takes for equal, which is rare.
"""

import numpy as np

from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import find_pairs, lengths

CUTOFF = 6.0  # Å
WIDTH = 0.25  # Å, of the Gaussian of a distance
GRID = np.arange(0.5, CUTOFF, WIDTH)  # Å, the distances at which the histogram is taken


def fingerprint(frame: Frame, elements: np.ndarray) -> np.ndarray:
    """[pairs of elements × distances] Å⁻¹ of a structure. elements: [E] ascending atomic numbers, all that occur."""
    pairs = find_pairs(frame.positions, frame.cell, frame.pbc, CUTOFF)
    apart = lengths(pairs, frame.positions, frame.cell)
    weights = (1 - (apart / CUTOFF) ** 2) ** 2 / apart
    bumps = weights[:, None] * np.exp(-(((apart[:, None] - GRID) / WIDTH) ** 2) / 2)
    low, high = np.sort(np.searchsorted(elements, frame.numbers)[pairs.atoms], axis=1).T
    table = np.zeros((len(elements) ** 2, len(GRID)))
    np.add.at(table, low * len(elements) + high, bumps)
    return table.ravel() / len(frame)


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
