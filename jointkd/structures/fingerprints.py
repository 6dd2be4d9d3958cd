"""Fingerprints of structures by their interatomic distances: how different two structures are, without a model.

A fingerprint does not depend on the order of atoms, rotations, the size of a structure or its periodicity: for each
pair of elements it is a smooth histogram of the distances, per atom (the radial part of Behler and Parrinello's
symmetry functions, summed over atoms). Near pairs weigh most, as they have most of the energy. Descriptors of angles,
as dscribe's, would also tell apart what this one takes for equal, which is rare.
"""

import numpy as np

from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import find_pairs, lengths

CUTOFF = 6.0  # Å
WIDTH = 0.25  # Å, of the Gaussian of a distance
MOST_KNOWN = 2000  # structures with which others are compared, evenly spread if there are more
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
