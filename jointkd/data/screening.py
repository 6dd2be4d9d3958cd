"""What is not fit to learn from: counted, reported, and set aside in a file rather than dropped in silence."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.io import write

from jointkd.errors import DataError
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import find_pairs, lengths, neighbors

CLOSEST = 0.3  # Å; no two nuclei of a real structure are that close
SEARCHED = 3.0  # Å; a search within less takes longer, because it has more cells to look into
FARTHEST = 6.0  # Å; nearest atoms of any bonded solid are closer, also where bohr were taken for Å
PLAUSIBLE = (0.6, 1.6)  # median distance of nearest atoms over the sum of their covalent radii: 0.8 to 1.2 in truth
LOOKED_AT = 1000  # structures, of which some are looked at before anything is done
NOBLE_GASES = (2, 10, 18, 36, 54, 86)


@dataclass(frozen=True)
class Rejected:
    """A frame that is set aside, and why."""

    frame: Frame
    reason: str


def screen(frames: Iterable[Frame], max_force: float, rejected: list[Rejected]) -> Iterator[Frame]:
    """The sound ones of the frames; the others are put into `rejected`. Of exact repeats the first is kept.

    max_force: eV/Å, the largest component that is believed. Raises DataError where half of the frames or more would
    go, or where distances of the first ones say that the unit of length is wrong.
    """
    frames = iter(frames)
    first = list(islice(frames, LOOKED_AT))
    check_distances(first)
    seen: dict[str, str | None] = {}
    for frame in chain(first, frames):
        reason = fault(frame, max_force)
        if reason is None and frame.key in seen:
            reason = "the same structure occurs twice"
            if seen[frame.key] != frame.split:
                reason += f", as {seen[frame.key] or 'no split'} and as {frame.split or 'no split'}"
        if reason is None:
            seen[frame.key] = frame.split
            yield frame
        else:
            rejected.append(Rejected(frame, reason))
    if rejected and len(rejected) >= len(seen):
        (reason, count), *_ = Counter(entry.reason for entry in rejected).most_common(1)
        raise DataError(
            f"{len(rejected)} of {len(rejected) + len(seen)} structures are not usable, {count} because {reason}"
            f" (first: {rejected[0].frame.source})",
            "check data.units and the keys, or raise data.max_force",
        )


def fault(frame: Frame, max_force: float) -> str | None:
    """Why a frame is not usable, or None."""
    if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()):
        return "positions are not finite"
    if frame.energy is not None and not np.isfinite(frame.energy):
        return "the energy is not finite"
    if frame.forces is not None:
        if not np.isfinite(frame.forces).all():
            return "forces are not finite"
        if np.abs(frame.forces).max() > max_force:
            return f"a force is larger than data.max_force={max_force:g} eV/Å"
    pairs = find_pairs(frame.positions, frame.cell, frame.pbc, SEARCHED)
    if (lengths(pairs, frame.positions, frame.cell) < CLOSEST).any():
        return f"two atoms are closer than {CLOSEST} Å"
    return None


def check_distances(frames: Sequence[Frame], most: int = 10) -> None:
    """Raises DataError where nearest atoms are not about as far apart as their covalent radii say.

    In the wrong unit of length they are about half (bohr for Å), twice, or a tenth as far.
    """
    chosen = [frame for frame in frames[:: max(1, len(frames) // most)] if np.isfinite(frame.positions).all()]
    ratios = np.concatenate([bond_ratios(frame) for frame in chosen] or [np.ones(0)])
    if len(ratios) and not PLAUSIBLE[0] < np.median(ratios) < PLAUSIBLE[1]:
        raise DataError(
            f"atoms in {chosen[0].source} and others are {np.median(ratios):.2g} times as far apart as bonded ones",
            "set data.units.length to the unit of the file",
        )


def bond_ratios(frame: Frame) -> np.ndarray:
    """Of each atom that could be bonded: the distance to its nearest atom in units of the sum of covalent radii."""
    edges, shift, _ = neighbors(frame.positions, frame.cell, frame.pbc, FARTHEST)
    source, target = edges.numpy()
    distances = np.linalg.norm(frame.positions[source] + shift.numpy() - frame.positions[target], axis=1)
    radii = covalent_radii[frame.numbers]
    ratios = np.full(len(frame), np.inf)
    np.minimum.at(ratios, target, distances / (radii[source] + radii[target]))
    return ratios[np.isfinite(ratios) & ~np.isin(frame.numbers, NOBLE_GASES)]


def quarantine(rejected: list[Rejected], path: Path) -> None:
    """Write rejected frames with their reasons, if there are any."""
    atoms = []
    for frame, reason in ((entry.frame, entry.reason) for entry in rejected):
        structure = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        structure.info.update(reason=reason, source=frame.source)
        if frame.forces is not None:
            structure.arrays["rejected_forces"] = frame.forces
        atoms.append(structure)
    if atoms:
        write(path, atoms, format="extxyz")
