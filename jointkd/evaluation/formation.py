"""Formation energies: energies relative to the elements in their reference phases (the paper, eq. 50)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula

from jointkd.structures.frame import Frame


@dataclass(frozen=True)
class ElementEnergy:
    """The energy of an element in its reference phase. predicted: what a student gives for the same phase."""

    energy: float  # eV/atom
    predicted: float  # eV/atom
    origin: str  # the structure, or what the energy is otherwise


def reference_phases(frames: Sequence[Frame]) -> dict[str, Frame]:
    """By chemical symbol the structure of that element alone that has the lowest energy per atom."""
    lowest: dict[str, tuple[float, Frame]] = {}
    for frame in frames:
        elements = np.unique(frame.numbers)
        if len(elements) > 1 or frame.energy is None:
            continue
        symbol, energy = chemical_symbols[elements[0]], frame.energy / len(frame)
        if symbol not in lowest or energy < lowest[symbol][0]:
            lowest[symbol] = energy, frame
    return {symbol: frame for symbol, (_, frame) in sorted(lowest.items())}


def formation_energies(energies: np.ndarray, formulas: Sequence[str], elements: Mapping[str, float]) -> np.ndarray:
    """[M] eV/atom: (E - Σ_z n_z E_z) / N for total energies [M] eV; not a number where an element has no energy.

    formulas: [M], as H2O; elements: eV/atom by chemical symbol. Source: the paper, eq. 50, per atom.
    """
    known: dict[str, tuple[float, int]] = {}
    for formula in set(formulas):
        counts = Formula(formula).count()
        zero = sum(count * elements.get(symbol, np.nan) for symbol, count in counts.items())
        known[formula] = zero, sum(counts.values())
    zeros, atoms = np.array([known[formula] for formula in formulas]).T
    return (energies - zeros) / atoms


def cumulative_distribution(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The absolute errors in ascending order and the share of errors that are not larger; the paper, figure 7."""
    ordered = np.sort(np.abs(errors[np.isfinite(errors)]))
    return ordered, np.arange(1, len(ordered) + 1) / max(len(ordered), 1)
