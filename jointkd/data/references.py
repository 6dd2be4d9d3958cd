"""Energy zeros: per-element reference energies, and the alignment of a teacher's energies with the reference data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from jointkd.errors import ConfigError, DataError
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame, composition, elements_of


@dataclass(frozen=True)
class References:
    """The reference energy of an atom of each element, to which a student's energies are relative."""

    energies: dict[int, float]  # eV by atomic number
    origin: str  # for messages

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """[N] eV for atomic numbers [N]. Raises DataError for an element without a reference energy."""
        missing = sorted({int(z) for z in numbers} - self.energies.keys())
        if missing:
            raise DataError(
                f"there is no reference energy for atomic number {missing[0]} ({self.origin})",
                "add it to data.reference_energies, or leave such structures out",
            )
        return np.array([self.energies[int(z)] for z in numbers])


def choose_references(
    option: Mapping[str, float] | str | None,
    isolated: Mapping[int, float],
    elements: Sequence[int],
    training: Sequence[Frame],
) -> References:
    """The reference energies that the option `data.reference_energies` asks for. Raises ConfigError.

    option: eV by chemical symbol; `fit` for least squares on the `training` split; None for the energies of the
    `isolated` atoms (eV by atomic number) if all `elements` have one, else for the fit.
    """
    if option is None and isolated.keys() >= set(elements):
        return References({z: isolated[z] for z in elements}, "isolated atoms of the data")
    if option is None or option == "fit":
        return least_squares(training)
    if isinstance(option, str):
        raise ConfigError(
            f"data.reference_energies={option} must be fit or energies by element", "give fit, or eV as {H: -13.6, …}"
        )
    for symbol, energy in option.items():
        if symbol not in atomic_numbers or not isinstance(energy, int | float):
            raise ConfigError(
                f"data.reference_energies has {symbol}: {energy}, which must be an energy by chemical symbol",
                "give eV by H, C, Si, …",
            )
    return References({atomic_numbers[symbol]: energy for symbol, energy in option.items()}, "data.reference_energies")


def least_squares(frames: Sequence[Frame]) -> References:
    """The reference energies that fit the total energies of `frames` best by least squares.

    Where the compositions do not determine them, they are those of the smallest norm.
    """
    frames = list(frames)
    elements = elements_of(frames)
    totals = np.array([frame.energy for frame in frames], dtype=float)
    solution = np.linalg.lstsq(composition(frames, elements), totals, rcond=None)[0]
    return References(dict(zip(elements, solution.tolist(), strict=True)), "least squares on the training split")


@dataclass(frozen=True)
class Alignment:
    """A shift per element that brings a teacher's energies to the energy zero of the reference data.

    The target of atom i is a_i - s(z_i): the teacher's atomic energy a_i, relative to its free atom, minus the shift s.
    The targets of a structure sum to its reference total minus Σ e(z), up to the teacher's error. They do not depend on
    the teacher's free-atom energies, so the two levels of theory may differ by any constant per element.
    """

    shift: dict[int, float]  # s, eV by atomic number
    residual_before: float  # root mean square over the training split, eV/atom
    residual_after: float  # the same, after the shift
    open: bool = False  # the compositions do not determine all shifts, which are then those of the smallest norm

    def targets(self, frame: Frame, labels: TeacherLabels) -> np.ndarray:
        """[N] eV: the targets of the student's atomic energies."""
        return labels.atomic_energies - np.array([self.shift.get(int(z), 0.0) for z in frame.numbers])

    def without(self, frames: Sequence[Frame]) -> list[int]:
        """The elements of the frames that have no shift, because the training split lacks them."""
        return [z for z in elements_of(frames) if z not in self.shift]

    def __str__(self) -> str:
        shifts = ", ".join(f"{chemical_symbols[z]} {s:+.3f}" for z, s in self.shift.items())
        return (
            f"teacher energies aligned to the reference data: residual {1e3 * self.residual_before:.2f} → "
            f"{1e3 * self.residual_after:.2f} meV/atom rms; shift in eV per atom: {shifts}"
            + ("; the compositions do not determine these shifts, so the smallest ones were taken" if self.open else "")
        )


def align(frames: Sequence[Frame], labels: dict[str, TeacherLabels], references: References) -> Alignment:
    """Fit the shift per element by least squares per atom.

    It is the difference between the teacher's summed atomic energies and the frames' total energies relative to the
    reference energies. frames: the training split, with energies; labels: by content key. Where the compositions do not
    determine the shifts, they are those of the smallest norm.
    """
    elements = elements_of(frames)
    counts = composition(frames, elements)
    atoms = counts.sum(1)
    totals = np.array([float(frame.energy or 0.0) for frame in frames])
    relative = totals - np.array([references.of(frame.numbers).sum() for frame in frames])
    excess = np.array([labels[frame.key].atomic_energies.sum() for frame in frames]) - relative
    before = np.array([labels[frame.key].energy for frame in frames]) - totals
    shift, _, rank, _ = np.linalg.lstsq(counts / atoms[:, None], excess / atoms, rcond=None)
    return Alignment(
        shift=dict(zip(elements, shift.tolist(), strict=True)),
        residual_before=float(np.sqrt(np.mean((before / atoms) ** 2))),
        residual_after=float(np.sqrt(np.mean(((excess - counts @ shift) / atoms) ** 2))),
        open=bool(rank < len(elements)),
    )
