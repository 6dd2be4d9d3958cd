"""The alignment of a teacher's energies with the energy zero of the reference data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from jointkd.data.composition_fit import fit_compositions
from jointkd.data.references import PRIOR_ERROR, References
from jointkd.labels.records import TeacherLabels
from jointkd.structures.columns import composition, elements_of, energies_of, keys_of, numbers_of
from jointkd.structures.frame import Frame

LARGEST_BINDING = 30.0  # eV; atomic energies relative to free atoms are smaller


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
    undetermined: str = ""  # which shifts the compositions do not determine, and what was taken for them
    directions: tuple[dict[int, float], ...] = ()  # the undetermined combinations of elements, see `References`

    def targets(self, frame: Frame, labels: TeacherLabels) -> np.ndarray:
        """[N] eV: the targets of the student's atomic energies."""
        return labels.atomic_energies - np.array([self.shift.get(int(z), 0.0) for z in frame.numbers])

    def total(self, frame: Frame, labels: TeacherLabels) -> float:
        """eV: the teacher's energy on the zero of the data, relative to the reference energies: the sum of `targets`.

        A teacher without atomic energies has been aligned by its total energies.
        """
        atomic = labels.atomic_energies
        energy = atomic.sum(dtype=float) if len(atomic) else labels.energy
        return float(energy - sum(self.shift.get(int(z), 0.0) for z in frame.numbers))

    def without(self, frames: Sequence[Frame]) -> list[int]:
        """The elements of the frames that have no shift, because the training split lacks them."""
        return [z for z in elements_of(frames) if z not in self.shift]

    def __str__(self) -> str:
        shifts = ", ".join(f"{chemical_symbols[z]} {s:+.3f}" for z, s in self.shift.items())
        return (
            f"teacher energies aligned to the reference data: residual {1e3 * self.residual_before:.2f} → "
            f"{1e3 * self.residual_after:.2f} meV/atom rms; shift in eV per atom: {shifts}"
            + (f"; {self.undetermined}" if self.undetermined else "")
        )


def align(
    frames: Sequence[Frame], labels: Callable[[str], tuple[float, np.ndarray]], references: References
) -> Alignment:
    """Fit the shift per element by least squares per atom.

    It is the difference between the teacher's summed atomic energies and the frames' total energies relative to the
    reference energies. frames: the training split, with energies; labels: the teacher's energy (eV) and atomic energies
    [N] (eV) by content key; where there are no atomic energies, all atoms have an equal share of the energy. What the
    compositions do not determine comes from `prior_shifts`.
    """
    elements = elements_of(frames)
    counts = composition(frames, elements)
    atoms = counts.sum(1)
    totals = energies_of(frames)
    relative = totals - references.totals(frames)
    teacher = [labels(key) for key in keys_of(frames)]
    energies = np.array([energy for energy, _ in teacher])
    shares = [
        each if len(each) else np.full(int(count), energy / count)
        for (energy, each), count in zip(teacher, atoms, strict=True)
    ]
    atomic = np.concatenate(shares).astype(float)
    sums = np.bincount(numbers_of(frames)[0], weights=atomic, minlength=max(elements) + 1)
    means = dict(zip(elements, (sums[elements] / counts.sum(0)).tolist(), strict=True))
    rule, prior = prior_shifts(means, float(relative.sum() / atoms.sum()))
    excess = np.array([each.sum(dtype=float) for each in shares]) - relative
    before = energies - totals
    fit = fit_compositions(counts / atoms[:, None], excess / atoms, elements, prior, PRIOR_ERROR)
    shift = np.array(list(fit.energies.values()))
    named = ", ".join(chemical_symbols[z] for z in fit.from_prior)
    return Alignment(
        shift=fit.energies,
        residual_before=float(np.sqrt(np.mean((before / atoms) ** 2))),
        residual_after=float(np.sqrt(np.mean(((excess - counts @ shift) / atoms) ** 2))),
        undetermined=f"the compositions do not determine the shifts of {named}, so {rule}" if named else "",
        directions=fit.undetermined,
    )


def prior_shifts(means: Mapping[int, float], mean: float) -> tuple[str, dict[int, float]]:
    """Shifts (eV by atomic number) for what the compositions do not determine, and how they were chosen.

    They are zero where the mean atomic energies of all elements, `means`, are those of bonds, relative to free atoms.
    Otherwise (a teacher whose free-atom energies are unknown) they bring every mean to that of the reference data,
    `mean`, eV per atom.
    """
    if all(abs(energy) <= LARGEST_BINDING for energy in means.values()):
        return "the smallest ones were taken", dict.fromkeys(means, 0.0)
    return "the mean atomic energies of all elements were made equal", {z: e - mean for z, e in means.items()}
