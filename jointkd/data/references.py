"""Zeros of energy: per-element references, and the shift that gives teacher and reference data a common zero."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jointkd.errors import DataError
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame, composition, elements_of


@dataclass(frozen=True)
class References:
    """Energy that each atom of an element carries before anything is learned; `origin` says where it is from."""

    energies: dict[int, float]  # eV by atomic number
    origin: str

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """[N] eV for atomic numbers [N]. Raises DataError for an element without a reference."""
        missing = sorted({int(z) for z in numbers} - self.energies.keys())
        if missing:
            raise DataError(
                f"there is no reference energy for atomic number {missing[0]} ({self.origin})",
                "add it to data.reference_energies, or leave such structures out",
            )
        return np.array([self.energies[int(z)] for z in numbers])


def least_squares(frames: Sequence[Frame]) -> References:
    """References that explain most of the total energies of `frames`; where compositions leave them open, the
    smallest ones (minimal norm)."""
    frames = list(frames)
    elements = elements_of(frames)
    totals = np.array([frame.energy for frame in frames], dtype=float)
    solution = np.linalg.lstsq(composition(frames, elements), totals, rcond=None)[0]
    return References(dict(zip(elements, solution.tolist(), strict=True)), "least squares on the training split")


@dataclass(frozen=True)
class Alignment:
    """A shift per element that brings a teacher's energies onto the zero of the reference data.

    Target of atom i: a_i - s(z_i), with the teacher's atomic energy a_i above its free atom and the shift s. The
    targets of a structure sum to its reference total above Σ e(z), up to the teacher's error. What the teacher's free
    atoms and the references e are does not matter, so two levels of theory may differ by any energy per element.
    """

    shift: dict[int, float]  # s, eV by atomic number
    residual_before: float  # root mean square over the training split, eV/atom
    residual_after: float
    open: bool = False  # compositions did not tell all elements apart, and the smallest shifts were taken

    def targets(self, frame: Frame, labels: TeacherLabels) -> np.ndarray:
        """[N] eV: what the student's atomic energies should be."""
        return labels.atomic_energies - np.array([self.shift.get(int(z), 0.0) for z in frame.numbers])

    def without(self, frames: Sequence[Frame]) -> list[int]:
        """Elements of the frames that have no shift, because the training split does not have them."""
        return [z for z in elements_of(frames) if z not in self.shift]

    def __str__(self) -> str:
        from ase.data import chemical_symbols

        shifts = ", ".join(f"{chemical_symbols[z]} {s:+.3f}" for z, s in self.shift.items())
        return (
            f"teacher energies aligned to the reference data: residual {1e3 * self.residual_before:.2f} → "
            f"{1e3 * self.residual_after:.2f} meV/atom rms; shift in eV per atom: {shifts}"
            + (
                "; compositions do not tell these elements apart, so the smallest shifts were taken"
                if self.open
                else ""
            )
        )


def align(frames: Sequence[Frame], labels: dict[str, TeacherLabels], references: References) -> Alignment:
    """Fit the shift per element between the teacher's sums of atomic energies and the frames' totals above their
    references, by least squares per atom.

    frames: of the training split, with energies. Compositions that do not tell elements apart get the smallest
    shifts that fit (minimal norm).
    """
    elements = elements_of(frames)
    counts = composition(frames, elements)
    atoms = counts.sum(1)
    totals = np.array([float(frame.energy or 0.0) for frame in frames])
    above = totals - np.array([references.of(frame.numbers).sum() for frame in frames])
    excess = np.array([labels[frame.key].atomic_energies.sum() for frame in frames]) - above
    before = np.array([labels[frame.key].energy for frame in frames]) - totals
    shift, _, rank, _ = np.linalg.lstsq(counts / atoms[:, None], excess / atoms, rcond=None)
    return Alignment(
        shift=dict(zip(elements, shift.tolist(), strict=True)),
        residual_before=float(np.sqrt(np.mean((before / atoms) ** 2))),
        residual_after=float(np.sqrt(np.mean(((excess - counts @ shift) / atoms) ** 2))),
        open=bool(rank < len(elements)),
    )
