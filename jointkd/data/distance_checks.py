"""Whether the unit of length of a data set is plausible: distances of nearest neighbours against covalent radii."""

from collections.abc import Sequence

import numpy as np
from ase.data import covalent_radii

from jointkd.errors import DataError
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import find_pairs, lengths

NEAR = 6.0  # Å; nearest neighbours in matter are closer, also if bohr were read as Å
FAR = 40.0  # Å; and closer than that if Å were read as nm
CLOSE = 0.6  # nearest distances over the sum of covalent radii are 0.8 to 1.2; a smaller median has a wrong unit
WIDE = {(1.45, 2.6): "as if bohr had been read as Å", (7.0, 14.0): "as if Å had been read as nm"}  # likewise
SAMPLE = 10  # structures whose distances are checked
BONDED = 3  # atoms; fewer may be a pair that is drawn apart on purpose
NOBLE_GASES = (2, 10, 18, 36, 54, 86)


def check_distances(frames: Sequence[Frame]) -> None:
    """Raise DataError if nearest-neighbour distances in a sample of the frames do not match the covalent radii.

    frames: with sound cells. Nothing is said of single atoms and pairs, which may be far apart, and of noble gases.
    """
    bonded = [frame for frame in frames if len(frame) >= BONDED or frame.pbc.any()]
    sample = bonded[:: max(1, len(bonded) // SAMPLE)]
    ratios = np.concatenate([bond_ratios(frame, NEAR) for frame in sample] or [np.ones(0)])
    if 2 * len(ratios) < sum(len(frame) for frame in sample):
        sample = [frame for frame in sample if len(frame) >= BONDED]
        ratios = np.concatenate([bond_ratios(frame, FAR) for frame in sample] or [np.ones(0)])
    if not len(ratios):
        return
    median = float(np.median(ratios))
    likely = [unit for (low, high), unit in WIDE.items() if low < median < high]
    if median < CLOSE:
        likely = ["as if nm had been read as Å" if median < CLOSE / 3 else "as if Å had been read as bohr"]
    if likely:
        raise DataError(
            f"atoms in {sample[0].source} and others are {median:.2g} times as far apart as bonded atoms, {likely[0]}",
            "set data.units.length to the unit of the file",
        )


def bond_ratios(frame: Frame, cutoff: float) -> np.ndarray:
    """The nearest-neighbour distance of each atom over the sum of the two covalent radii.

    Atoms without neighbours within the cutoff (Å), and noble gases, are left out.
    """
    pairs = find_pairs(frame.positions, frame.cell, frame.pbc, cutoff)
    bond_lengths = covalent_radii[frame.numbers][pairs.atoms].sum(1)
    relative = lengths(pairs, frame.positions, frame.cell) / bond_lengths
    ratios = np.full(len(frame), np.inf)
    for atoms in pairs.atoms.T:
        np.minimum.at(ratios, atoms, relative)
    return ratios[np.isfinite(ratios) & ~np.isin(frame.numbers, NOBLE_GASES)]
