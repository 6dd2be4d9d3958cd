"""Whether forces belong to the energies of a data set: sign and unit, from pairs of close conformations."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from jointkd.data.readers.units import ENERGY, LENGTH
from jointkd.errors import DataError
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

FIRST = 2000  # structures among which pairs are sought
GROUPS, GROUP = 20, 100  # conformations of how many structures, and how many of each
CLOSE = 0.3  # Å, root mean square displacement of the atoms of a pair
CANCELLING = 10.0  # times the mean of the two predictions by which they may differ, to be more than their error
PAIRS = 8  # fewer determine nothing
SPREAD = 0.4  # between the quartiles of the slopes, over their median; if larger, nothing is determined
PLAUSIBLE = (0.5, 2.0)  # slopes of right data, for which third derivatives are neglected
UNIT_TOLERANCE = 0.2  # relative difference of a slope from the ratio of two units


def check_forces(frames: Sequence[Frame]) -> None:
    """Compare the energy differences of close conformations with those that their forces predict.

    Raises DataError where the ratio is that of two units, or negative; logs a warning for other ratios far from 1.
    Nothing is said where no conformations are close enough to determine it.
    """
    slope = energy_slope(frames)
    if slope is None or PLAUSIBLE[0] < slope < PLAUSIBLE[1]:
        return
    problem = f"between close structures energies change by {slope:.3g} times what the forces say"
    cause = likely_cause(slope, float(np.mean([len(frame) for frame in islice(frames, FIRST)])))
    if cause is None:
        log.warning("%s: do the forces belong to these energies, and are their units the same?", problem)
        return
    raise DataError(
        f"{problem}, as for {cause}",
        "check data.energy_key, data.forces_key and data.units, or convert the forces to units.energy / units.length",
    )


def likely_cause(slope: float, atoms: float) -> str | None:
    """What explains a ratio of energy differences, or None. atoms: in a structure, on average."""
    causes = {1 / atoms: "energies per atom instead of total ones"}
    for unit, size in ENERGY.items():
        if unit != "eV":
            causes |= {1 / size: f"energies in {unit} beside forces in eV/Å"}
        for length, scale in LENGTH.items():
            causes |= {size / scale: f"forces in {unit}/{length} beside energies in eV"}
    sign = "gradients given as forces, " if slope < 0 else ""
    if sign and PLAUSIBLE[0] < -slope < PLAUSIBLE[1]:
        return sign.strip(", ")
    ratio, cause = min(causes.items(), key=lambda entry: abs(np.log(abs(slope) / entry[0])))
    return sign + cause if abs(abs(slope) / ratio - 1) < UNIT_TOLERANCE else sign.strip(", ") or None


def energy_slope(frames: Sequence[Frame]) -> float | None:
    """The median over close pairs of ΔE / (-F·ΔR), F the mean force of the two: 1 for forces that are right.

    None where there are too few pairs, or where their ratios scatter.
    """
    slopes = np.concatenate([pair_slopes(group) for group in conformations(frames)] or [np.ones(0)])
    if len(slopes) < PAIRS:
        return None
    low, median, high = np.percentile(slopes, [25, 50, 75])
    return float(median) if high - low < SPREAD * abs(median) else None


def conformations(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Groups of the first labelled frames with the same atoms in the same order and the same cell."""
    groups: dict[tuple[bytes, bytes], list[Frame]] = defaultdict(list)
    for frame in islice(frames, FIRST):
        if frame.energy is not None and frame.forces is not None:
            cell = np.where(frame.pbc[:, None], frame.cell, 0.0).round(6)
            groups[frame.numbers.tobytes(), cell.tobytes()].append(frame)
    for group in islice(sorted(groups.values(), key=len, reverse=True), GROUPS):
        most = min(GROUP, int(np.sqrt(1e6 / len(group[0]))))  # bounds the memory
        yield group[:most]


def pair_slopes(group: Sequence[Frame]) -> np.ndarray:
    """ΔE / (-F·ΔR) of those pairs of conformations that are close, and for which it is determined."""
    energies = np.array([frame.energy for frame in group], dtype=float)
    forces = np.array([frame.forces for frame in group], dtype=float)
    positions = np.array([frame.positions for frame in group])
    vectors = group[0].cell[group[0].pbc]
    moved, turned = displacements(positions, forces, vectors)
    distances = np.sqrt((moved**2).sum(-1).mean(-1))
    first = -np.einsum("anj,abnj->ab", forces, moved)  # eV; ΔE by the forces at either end
    second = -np.einsum("abnj,abnj->ab", turned, moved)
    mean = (first + second) / 2
    pairs = (distances < CLOSE) & (np.abs(first - second) < CANCELLING * np.abs(mean))
    pairs &= np.triu(np.ones_like(pairs), 1)
    slopes: np.ndarray = (energies - energies[:, None])[pairs] / mean[pairs]
    return slopes


def displacements(positions: np.ndarray, forces: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n, n, N, 3] Å: how far atoms move from one conformation to another, and the forces (eV/Å) at the other.

    positions, forces: [n, N, 3]; vectors [k, 3] Å: lattice vectors of the periodic directions. Molecules are turned
    onto each other; periodic structures are moved by lattice vectors, and shifted.
    """
    if len(vectors):
        moved = positions - positions[:, None]
        moved = moved - np.rint(moved @ np.linalg.pinv(vectors)) @ vectors
        return moved - moved.mean(2, keepdims=True), np.broadcast_to(forces, moved.shape)
    centred = positions - positions.mean(1, keepdims=True)
    left, _, right = np.linalg.svd(np.einsum("bni,anj->abij", centred, centred))
    left[..., -1] *= np.sign(np.linalg.det(left @ right))[..., None]  # no reflections
    turn = left @ right
    return np.einsum("bni,abij->abnj", centred, turn) - centred[:, None], np.einsum("bni,abij->abnj", forces, turn)
