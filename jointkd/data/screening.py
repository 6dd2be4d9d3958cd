"""Screening: structures that are unfit for training are counted, logged and quarantined in a file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from ase.data import covalent_radii
from ase.io import write

from jointkd.errors import DataError
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import find_pairs, lengths

CLOSEST = 0.3  # Å; no two nuclei of a real structure are that close
SEARCH_CUTOFF = 3.0  # Å; a search for pairs within a smaller cutoff takes longer, because it has more cells to visit
FARTHEST = 6.0  # Å; nearest neighbours in any bonded solid are closer, even if its lengths in bohr were read as Å
PLAUSIBLE = (0.6, 1.6)  # median nearest-neighbour distance over the sum of covalent radii; in truth 0.8 to 1.2
FIRST = 1000  # structures from which a sample is taken to check the unit of length
NOBLE_GASES = (2, 10, 18, 36, 54, 86)


@dataclass(frozen=True)
class Rejected:
    """A quarantined frame and the reason."""

    frame: Frame
    reason: str


def screen(frames: Iterable[Frame], max_force: float, rejected: list[Rejected]) -> Iterator[Frame]:
    """Yield the frames that pass; append the others to `rejected`. Of identical structures the first one passes.

    max_force: eV/Å, the largest plausible force component. Raises DataError if half of the frames or more are rejected,
    or if the interatomic distances of the first ones show that the unit of length is wrong.
    """
    frames = iter(frames)
    first = list(islice(frames, FIRST))
    check_distances(first)
    splits: dict[str, str | None] = {}  # of the frames that passed, by key
    for frame in chain(first, frames):
        reason = find_fault(frame, max_force)
        if reason is None and frame.key in splits:
            reason = "the same structure occurs twice"
            if splits[frame.key] != frame.split:
                reason += f", as {splits[frame.key] or 'no split'} and as {frame.split or 'no split'}"
        if reason is None:
            splits[frame.key] = frame.split
            yield frame
        else:
            rejected.append(Rejected(frame, reason))
    if rejected and len(rejected) >= len(splits):
        (reason, count), *_ = Counter(entry.reason for entry in rejected).most_common(1)
        raise DataError(
            f"{len(rejected)} of {len(rejected) + len(splits)} structures are unusable, {count} because {reason}"
            f" (first: {rejected[0].frame.source})",
            "check data.units and the keys, or raise data.max_force",
        )


def find_fault(frame: Frame, max_force: float) -> str | None:
    """The reason why a frame is unusable, or None."""
    if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()):
        return "positions are not finite"
    if frame.energy is not None and not np.isfinite(frame.energy):
        return "the energy is not finite"
    if frame.forces is not None:
        if not np.isfinite(frame.forces).all():
            return "forces are not finite"
        if np.abs(frame.forces).max() > max_force:
            return f"a force is larger than data.max_force={max_force:g} eV/Å"
    pairs = find_pairs(frame.positions, frame.cell, frame.pbc, SEARCH_CUTOFF)
    if (lengths(pairs, frame.positions, frame.cell) < CLOSEST).any():
        return f"two atoms are closer than {CLOSEST} Å"
    return None


def check_distances(frames: Sequence[Frame], most: int = 10) -> None:
    """Raise DataError if nearest-neighbour distances in a sample of `most` frames do not match the covalent radii.

    In a wrong unit of length they are half as large (Å read as bohr), twice (bohr read as Å) or a tenth (nm read as Å).
    """
    sample = [frame for frame in frames[:: max(1, len(frames) // most)] if np.isfinite(frame.positions).all()]
    ratios = np.concatenate([bond_ratios(frame) for frame in sample] or [np.ones(0)])
    if len(ratios) and not PLAUSIBLE[0] < np.median(ratios) < PLAUSIBLE[1]:
        raise DataError(
            f"atoms in {sample[0].source} and others are {np.median(ratios):.2g} times as far apart as bonded atoms",
            "set data.units.length to the unit of the file",
        )


def bond_ratios(frame: Frame) -> np.ndarray:
    """The nearest-neighbour distance of each atom over the sum of the two covalent radii.

    Atoms without neighbours within FARTHEST, and noble gases, are left out.
    """
    pairs = find_pairs(frame.positions, frame.cell, frame.pbc, FARTHEST)
    bond_lengths = covalent_radii[frame.numbers][pairs.atoms].sum(1)
    relative = lengths(pairs, frame.positions, frame.cell) / bond_lengths
    ratios = np.full(len(frame), np.inf)
    for atoms in pairs.atoms.T:
        np.minimum.at(ratios, atoms, relative)
    return ratios[np.isfinite(ratios) & ~np.isin(frame.numbers, NOBLE_GASES)]


def quarantine(rejected: list[Rejected], path: Path) -> None:
    """Write the rejected frames, if there are any, with their reasons."""
    atoms = []
    for frame, reason in ((entry.frame, entry.reason) for entry in rejected):
        structure = frame.to_ase()
        structure.info.update(reason=reason, source=frame.source)
        if frame.forces is not None:
            structure.arrays["rejected_forces"] = frame.forces
        atoms.append(structure)
    if atoms:
        write(path, atoms, format="extxyz")
