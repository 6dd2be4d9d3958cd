"""Do two atoms repel each other at short distances? Curves of all pairs of elements, which no data contain."""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii

from jointkd.acceptance.gate import Gate, at_most
from jointkd.acceptance.options import DimerLimits
from jointkd.deploy.model import Model
from jointkd.deploy.replicas import ReplicaEvaluator

FRACTIONS = np.linspace(0.3, 2.0, 171)  # of the sum of the covalent radii
NAMED = 6  # pairs that the detail names


class Dimer(NamedTuple):
    """The energy of two atoms over their distance."""

    pair: str  # as C-H
    distances: np.ndarray  # [D] Å
    energies: np.ndarray  # [D] eV, relative to the separate atoms
    falls_below: float | None  # Å, the largest distance, within the limit, nearer than which the energy falls


class Dimers(NamedTuple):
    """The gate, and the curves."""

    gate: Gate
    gate_below: float  # of the sum of the covalent radii, nearer than which the energy must rise
    curves: list[Dimer]


def dimers(model: Model, elements: Sequence[int], limits: DimerLimits) -> Dimers:
    """How many pairs of elements (atomic numbers) attract each other at short distances, where they must not."""
    curves = [dimer(model, pair, limits.repulsive_below) for pair in combinations_with_replacement(sorted(elements), 2)]
    faulty = [f"{curve.pair} below {curve.falls_below:.2f} Å" for curve in curves if curve.falls_below is not None]
    text = f"{len(faulty)} of {len(curves)} pairs of elements are not repulsive"
    text += f" everywhere below {limits.repulsive_below:g} of the sum of the covalent radii"
    if faulty:
        text += ": " + ", ".join(faulty[:NAMED]) + (", …" if len(faulty) > NAMED else "")
    unit = "pairs of elements"
    return Dimers(
        at_most("repulsion at short distances", len(faulty), limits.not_repulsive, unit, text),
        limits.repulsive_below,
        curves,
    )


def dimer(model: Model, pair: tuple[int, int], repulsive_below: float) -> Dimer:
    """The curve of two elements."""
    reach = float(covalent_radii[list(pair)].sum())
    distances = FRACTIONS * reach
    structures = [Atoms(pair, [[0, 0, 0], [0, 0, distance]]) for distance in distances]
    positions = np.concatenate([atoms.positions for atoms in structures])
    energies = ReplicaEvaluator(model, structures)(positions).energies
    rises = np.diff(energies) < 0  # towards shorter distances; not where it is not finite
    falls = np.flatnonzero(~rises & (FRACTIONS[1:] <= repulsive_below + 1e-9))
    name = "-".join(chemical_symbols[number] for number in pair)
    return Dimer(name, distances, energies, float(distances[falls[-1] + 1]) if len(falls) else None)
