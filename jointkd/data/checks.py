"""What is not fit to learn from: counted, reported, and set aside in a file rather than dropped in silence."""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write
from scipy.spatial import cKDTree

from jointkd.errors import DataError
from jointkd.frame import Frame

log = logging.getLogger(__name__)

CLOSEST = 0.3  # Å; no two nuclei of a real structure are that close
TYPICAL = (0.6, 4.0)  # Å; where the median distance to the nearest atom lies in any real molecule or crystal


@dataclass(frozen=True)
class Rejected:
    """A frame that is set aside, and why."""

    frame: Frame
    reason: str


def screen(frames: list[Frame], max_force: float) -> tuple[list[Frame], list[Rejected]]:
    """Split frames into sound ones and rejected ones; exact repeats are rejected too.

    max_force: eV/Å, the largest component that is believed. Raises DataError where half of the frames or more would
    go, or where distances say that the unit of length is wrong.
    """
    check_distances(frames)
    sound: list[Frame] = []
    rejected: list[Rejected] = []
    seen: set[str] = set()
    for frame in frames:
        reason = fault(frame, max_force)
        if reason is None and frame.key in seen:
            reason = "the same structure occurs twice"
        if reason is None:
            seen.add(frame.key)
            sound.append(frame)
        else:
            rejected.append(Rejected(frame, reason))
    if rejected and len(rejected) >= len(sound):
        (reason, count), *_ = Counter(entry.reason for entry in rejected).most_common(1)
        raise DataError(
            f"{len(rejected)} of {len(frames)} structures are not usable, {count} because {reason}"
            f" (first: {rejected[0].frame.source})",
            "check data.units and the keys, or raise data.max_force",
        )
    return sound, rejected


def fault(frame: Frame, max_force: float) -> str | None:
    """Why a frame is not usable, or None."""
    if not np.isfinite(frame.positions).all():
        return "positions are not finite"
    if frame.energy is not None and not np.isfinite(frame.energy):
        return "the energy is not finite"
    if frame.forces is not None:
        if not np.isfinite(frame.forces).all():
            return "forces are not finite"
        if np.abs(frame.forces).max() > max_force:
            return f"a force is larger than data.max_force={max_force:g} eV/Å"
    if len(frame) > 1 and nearest(frame).min() < CLOSEST:
        return f"two atoms are closer than {CLOSEST} Å"
    return None


def nearest(frame: Frame) -> np.ndarray:
    """[N] Å to the nearest other atom within the cell."""
    return cKDTree(frame.positions).query(frame.positions, k=2)[0][:, 1]


def check_distances(frames: list[Frame]) -> None:
    """Raises DataError where atoms lie at distances that no unit but a wrong one explains."""
    molecules = [frame for frame in frames[:50] if len(frame) > 1 and np.isfinite(frame.positions).all()]
    if not molecules:
        return
    median = float(np.median(np.concatenate([nearest(frame) for frame in molecules])))
    low, high = TYPICAL
    if not low < median < high and not (molecules[0].pbc.any() and median > high):
        raise DataError(
            f"the nearest atoms in {frames[0].source} are {median:.3g} Å apart (median)",
            "set data.units.length to the unit of the file",
        )


def quarantine(rejected: list[Rejected], directory: Path) -> Path | None:
    """Write rejected frames with their reasons to `quarantine.xyz`, and say how many they are."""
    if not rejected:
        return None
    path = directory / "quarantine.xyz"
    atoms = []
    for frame, reason in ((entry.frame, entry.reason) for entry in rejected):
        structure = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        structure.info.update(reason=reason, source=frame.source)
        if frame.forces is not None:
            structure.arrays["rejected_forces"] = frame.forces
        atoms.append(structure)
    write(path, atoms, format="extxyz")
    for reason, count in Counter(entry.reason for entry in rejected).most_common():
        log.warning("set aside %d structures: %s (%s)", count, reason, path)
    return path
