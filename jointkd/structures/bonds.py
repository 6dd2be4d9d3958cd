"""Bonds by covalent radii, their kinds, and distances in a data set: of bonds (the paper, A.9), and shortest."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from jointkd.structures.columns import evenly_spread
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import Pairs, find_pairs, lengths

BONDED = 1.25  # times the sum of the covalent radii, at most
FAR = 2.0  # times the sum of the covalent radii; shortest distances are not looked for beyond
MOST = 10_000  # structures of a data set, evenly spread, in which the shortest distances are looked for
SAMPLE = 1000  # structures of a data set, evenly spread, that its equilibrium lengths are taken from


def find_bonds(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, reach: float = BONDED
) -> Pairs:
    """The pairs that are nearer than `reach` times the sum of their covalent radii; for arrays see `find_pairs`."""
    pairs = find_pairs(positions, cell, pbc, 2 * reach * covalent_radii[numbers].max())
    near = lengths(pairs, positions, cell) < reach * sums_of_radii(numbers, pairs)
    return Pairs(pairs.atoms[near], pairs.images[near] if len(pairs.images) else pairs.images)


def sums_of_radii(numbers: np.ndarray, pairs: Pairs) -> np.ndarray:
    """[P] Å: the sum of the covalent radii of each pair."""
    return covalent_radii[numbers][pairs.atoms].sum(axis=1)


def kinds(numbers: np.ndarray, bonds: Pairs) -> list[str]:
    """The kind of each bond: both elements, each with its number of bonds, as in C4-H1."""
    coordination = np.bincount(bonds.atoms.flatten(), minlength=len(numbers))
    ends = np.array([f"{chemical_symbols[z]}{count}" for z, count in zip(numbers, coordination, strict=True)])
    return ["-".join(sorted(pair)) for pair in ends[bonds.atoms].tolist()]


def equilibrium_lengths(frames: Sequence[Frame]) -> dict[str, float]:
    """The median length (Å) of each kind of bond in a data set, or in a sample of a large one."""
    found: dict[str, list[float]] = defaultdict(list)
    for frame in evenly_spread(frames, SAMPLE):
        bonds = find_bonds(frame.numbers, frame.positions, frame.cell, frame.pbc)
        for kind, length in zip(kinds(frame.numbers, bonds), lengths(bonds, frame.positions, frame.cell), strict=True):
            found[kind].append(float(length))
    return {kind: round(float(np.median(values)), 4) for kind, values in sorted(found.items())}


def shortest_distances(frames: Sequence[Frame]) -> dict[tuple[int, int], float]:
    """Å: how near atoms of two elements (atomic numbers, ascending) come in a data set, or in a sample of a large one.

    Only for elements that occur together in a structure; FAR times the sum of their covalent radii if they never come
    nearer than that.
    """
    found: dict[tuple[int, int], float] = {}
    for frame in evenly_spread(frames, MOST):
        elements = np.unique(frame.numbers).tolist()
        for first, second in combinations_with_replacement(elements, 2):
            if first < second or np.count_nonzero(frame.numbers == first) > 1 or frame.pbc.any():
                found.setdefault((first, second), FAR * float(covalent_radii[[first, second]].sum()))
        pairs = find_bonds(frame.numbers, frame.positions, frame.cell, frame.pbc, FAR)
        ends = np.sort(frame.numbers[pairs.atoms], axis=1)
        apart = lengths(pairs, frame.positions, frame.cell)
        for kind in np.unique(ends, axis=0):
            nearest = float(apart[(ends == kind).all(axis=1)].min())
            key = int(kind[0]), int(kind[1])
            found[key] = min(found[key], nearest)
    return found
