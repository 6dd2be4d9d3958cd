"""The energy zero of a data set: reference energies per element, to which a student's energies are relative."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from jointkd.data.composition_fit import fit_compositions
from jointkd.data.free_atoms import known_free_atoms, plausible
from jointkd.errors import ConfigError, DataError
from jointkd.structures.columns import composition, elements_of, energies_of, numbers_of
from jointkd.structures.frame import Frame

LARGEST_ENERGY = 100.0  # eV/atom; energies of bonds are below 10
PRIOR_ERROR = 5.0  # eV per atom; free atoms of other levels of theory, and the differences between two zeros


@dataclass(frozen=True)
class References:
    """The reference energy of an atom of each element, to which a student's energies are relative."""

    energies: dict[int, float]  # eV by atomic number
    origin: str  # for messages
    # Combinations of elements whose energy no structure determines: the energies of compositions that contain such a
    # combination are relative to an estimate. Each is by atomic number, together they are orthonormal.
    undetermined: tuple[dict[int, float], ...] = ()
    errors: dict[int, float] = field(default_factory=dict)  # eV: standard errors of fitted energies
    fitted: bool = False  # to total energies, rather than those of free atoms

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """[N] eV for atomic numbers [N]. Raises DataError for an element without a reference energy."""
        missing = sorted({int(z) for z in numbers} - self.energies.keys())
        if missing:
            raise DataError(
                f"there is no reference energy for atomic number {missing[0]} ({self.origin})",
                "add it to data.reference_energies, or leave such structures out",
            )
        return np.array([self.energies[int(z)] for z in numbers])

    def totals(self, frames: Sequence[Frame]) -> np.ndarray:
        """[M] eV: the sums of the reference energies of frames. Raises DataError for an element without one."""
        elements = elements_of(frames)
        return composition(frames, elements) @ self.of(np.array(elements))

    def check(self, frames: Sequence[Frame]) -> None:
        """Raises DataError where relative to these references the energy of a frame is none of bonds."""
        relative = (energies_of(frames) - self.totals(frames)) / numbers_of(frames)[1]
        worst = int(np.abs(relative).argmax())
        if abs(relative[worst]) > LARGEST_ENERGY:
            raise DataError(
                f"relative to the reference energies ({self.origin}) the energy of "
                f"{frames[worst].source or frames[worst].key} is {relative[worst]:.0f} eV per atom",
                "check data.units.energy, and give data.reference_energies of the same level of theory, or fit",
            )

    def __str__(self) -> str:
        """The energies by element, with the standard errors of those that were fitted."""
        return ", ".join(
            f"{chemical_symbols[z]} {energy:.3f}" + (f" ± {self.errors[z]:.3f}" if z in self.errors else "")
            for z, energy in self.energies.items()
        )


def choose_references(
    option: Mapping[str, float] | str | None,
    isolated: Mapping[int, float],
    elements: Sequence[int],
    training: Sequence[Frame],
    teacher: Mapping[int, float] | None = None,
) -> References:
    """The reference energies that the option `data.reference_energies` asks for. Raises ConfigError.

    option: eV by chemical symbol; `fit` for least squares on the `training` split; None for the energies of the
    `isolated` atoms (eV by atomic number) if all `elements` have one, else for the fit. teacher: energies of the
    teacher's free atoms, if they are known.
    """
    if option is None and isolated.keys() >= set(elements):
        return References({z: isolated[z] for z in elements}, "isolated atoms of the data")
    if option is None or option == "fit":
        return least_squares(training, isolated, teacher)
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


def least_squares(
    frames: Sequence[Frame], isolated: Mapping[int, float] | None = None, teacher: Mapping[int, float] | None = None
) -> References:
    """The reference energies that fit the total energies of `frames` best by least squares.

    What the compositions do not determine comes from the `isolated` atoms of the data, else from a table of free atoms,
    else from the `teacher`'s, whichever first have all elements and fit the energies; else all elements of such a
    composition have the same energy.
    """
    elements = elements_of(frames)
    counts = composition(frames, elements)
    totals = energies_of(frames)
    prior, energies = prior_references(frames, isolated or {}, teacher or {})
    per_atom = float(np.median(totals / counts.sum(1)))
    prior_error = PRIOR_ERROR if energies else max(PRIOR_ERROR, abs(per_atom))
    fit = fit_compositions(counts, totals, elements, energies or dict.fromkeys(elements, per_atom), prior_error)
    origin = "least squares on the training split"
    if fit.undetermined:
        named = ", ".join(chemical_symbols[z] for z in fit.from_prior)
        origin += f", whose {len(elements) - len(fit.undetermined)} independent compositions do not determine {named}"
        origin += f"; those are from {prior}"
    errors = {z: error for z, error in fit.errors.items() if z not in fit.from_prior}
    return References(fit.energies, origin, fit.undetermined, errors, fitted=True)


def prior_references(
    frames: Sequence[Frame], isolated: Mapping[int, float], teacher: Mapping[int, float]
) -> tuple[str, Mapping[int, float]]:
    """Energies of free atoms (eV by atomic number) that fit the frames, and where they are from; {} if none do."""
    if plausible(frames, isolated):
        return "the isolated atoms of the data", isolated
    if known := known_free_atoms(frames):
        return f"the free atoms of {known[0]}", known[1]
    if plausible(frames, teacher):
        return "the free atoms of the teacher", teacher
    return "the mean energy per atom, since no energies of free atoms fit", {}
