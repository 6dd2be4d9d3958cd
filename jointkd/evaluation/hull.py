"""Distances of crystals to the convex hull of energies, by pymatgen, and how far two force fields agree on them."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from jointkd.errors import MissingExtra
from jointkd.ranges import check_number
from jointkd.structures.frame import Frame

ON_HULL = 1e-6  # eV/atom, the rounding of energies
METRICS = ("hull_distance_mae_meV_per_atom", "stable_precision", "stable_recall", "stable_f1")

Ratios = tuple[np.ndarray, np.ndarray]  # [M, 4] numerators and denominators: a metric is the ratio of their sums


def check_hull(stable: object) -> None:
    """Raise ConfigError for an option `hull` that is no energy, MissingExtra where pymatgen is needed and not there."""
    if stable is None:
        return
    check_number("hull", stable, "eV/atom, up to which a crystal above the convex hull counts as stable", zero=True)
    try:
        import pymatgen.analysis.phase_diagram  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"hull={stable} needs pymatgen", "pip install 'jointkd[hull]'") from error


def are_crystals(frames: Iterable[Frame]) -> bool:
    """Whether all structures are periodic in three directions; others have no distance to a hull."""
    return all(bool(frame.pbc.all()) for frame in frames)


def hull_distances(formulas: Sequence[str], energies: np.ndarray, elements: Mapping[str, float]) -> np.ndarray:
    """[M] eV/atom: how far structures are above the convex hull of their own energies and those of the elements.

    formulas: [M], as H2O; energies: [M] eV, totals, NaN for what is no phase; elements: eV/atom by chemical symbol, of
    phases beside the structures. NaN for what is no phase, and where one of the elements has no phase. What all
    energies share per atom of an element cancels. Source: Bartel et al., npj Comput. Mater. 6, 97 (2020).
    """
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    compositions = {formula: Composition(formula) for formula in {*formulas, *elements}}
    reduced = {formula: composition.reduced_formula for formula, composition in compositions.items()}
    per_atom = np.asarray(energies) / [compositions[formula].num_atoms for formula in formulas]
    lowest: dict[str, Any] = {}
    for formula, energy in [*zip(formulas, per_atom.tolist(), strict=True), *elements.items()]:
        known = lowest.get(reduced[formula])
        if np.isfinite(energy) and (known is None or energy < known.energy_per_atom):
            composition = compositions[formula]
            lowest[reduced[formula]] = PDEntry(composition, energy * composition.num_atoms)
    systems: dict[frozenset[Any], list[Any]] = defaultdict(list)
    for entry in lowest.values():
        systems[frozenset(entry.composition)].append(entry)
    heights: dict[str, float] = {}  # of the hull, eV/atom
    for system, entries in systems.items():
        parts = [frozenset(part) for size in range(1, len(system) + 1) for part in combinations(system, size)]
        if all(part in systems for part in parts[: len(system)]):  # the elements
            diagram = PhaseDiagram([entry for part in parts for entry in systems.get(part, [])])
            for composition in (entry.composition for entry in entries):
                heights[composition.reduced_formula] = diagram.get_hull_energy_per_atom(composition)
    above = per_atom - [heights.get(reduced[formula], np.nan) for formula in formulas]
    return np.maximum(above, 0.0)  # -1e-16 is on the hull


def agreement(reference: np.ndarray, predicted: np.ndarray, stable: float) -> Ratios:
    """The ratios of `METRICS`. reference, predicted: [M] eV/atom, distances to the hull of each side, NaN for none.

    stable: eV/atom, up to which a structure counts as stable.
    """
    known = np.isfinite(reference) & np.isfinite(predicted)
    error = 1e3 * np.abs(np.where(known, predicted - reference, 0.0))  # meV/atom
    true, found = (known & (distance <= stable + ON_HULL) for distance in (reference, predicted))
    both = true & found
    return (
        np.stack([error, both, both, 2.0 * both], axis=1),
        np.stack([known, found, true, 1.0 * true + found], axis=1),
    )


class HullErrors:
    """The energies of structures and of predictions, from which each side's own hull is made when all are there.

    stable: eV/atom, up to which a structure above the hull counts as stable.
    """

    def __init__(self, stable: float) -> None:
        self._stable = stable
        self._formulas: list[str] = []
        self._energies = array("d")
        self._ratios: Ratios | None = None

    def add(self, frame: Frame, formula: str, energy: float) -> None:
        """Add a structure, which is a phase if it is periodic in three directions and has an energy. energy: eV."""
        self._formulas.append(formula)
        reference = frame.energy if are_crystals([frame]) else None
        self._energies.extend([np.nan, np.nan] if reference is None else [reference, energy])
        self._ratios = None

    def ratios(self) -> Ratios:
        """Those of `METRICS`, against the hulls of all structures that were added."""
        if self._ratios is None:
            sides = np.asarray(self._energies).reshape(-1, 2).T
            reference, predicted = (hull_distances(self._formulas, side, {}) for side in sides)
            self._ratios = agreement(reference, predicted, self._stable)
        return self._ratios
