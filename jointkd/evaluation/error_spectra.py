"""The spectrum of a student's errors along paths: by mode, with the floor of theorem 3.6."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointkd.evaluation.spectrum import Spectrum, derivative, mode_bound, one_sided, windowed

SAMPLES = 1000  # of the bootstrap


@dataclass(frozen=True)
class PathErrors:
    """The error of a student against its teacher, sampled evenly along one path."""

    energies: np.ndarray  # [M] δE, eV
    forces: np.ndarray | None  # [M] the force error along the path, eV per unit; None if forces are no gradient
    atomic: float | None  # Σ_i of the mean square of δE_atom,i, eV², through the same window; None without one zero
    atoms: int  # N
    length: float
    periodic: bool

    def spectrum(self) -> Spectrum:
        """That of the energy error, through a Hann window where the path is not periodic."""
        return Spectrum.of(self.energies if self.periodic else windowed(self.energies), self.length)

    def powers(self) -> tuple[np.ndarray, np.ndarray]:
        """Frequencies [K] and the mean square [K] of δE that each contributes, eV²; the first is the constant mode."""
        omega, power = one_sided(self.spectrum())
        return omega, power / self.length

    def bound(self) -> np.ndarray | None:
        """[K] eV²: what the powers cannot exceed by eq. 22; None without atomic energies."""
        if self.atomic is None:
            return None
        spectrum = self.spectrum()
        omega, _ = one_sided(spectrum)
        return mode_bound(spectrum, omega, self.atomic * self.length, self.atoms) / self.length

    def mismatch(self) -> float | None:
        """By how much the derivative of δE's samples differs from the forces, relative to these: 0 for enough samples.

        None where that cannot be told.
        """
        if self.forces is None or not self.periodic or not np.any(self.forces):
            return None
        along = -derivative(self.energies, self.length)
        return float(np.sqrt(np.mean((along - self.forces) ** 2) / np.mean(self.forces**2)))


@dataclass(frozen=True)
class ErrorSpectrum:
    """The spectra of one student over P paths, mode by mode."""

    omega: np.ndarray  # [K] per unit; the mean over the paths
    powers: np.ndarray  # [P, K] eV², contributions to the mean square of δE; mode 0 is the constant
    frequencies: np.ndarray  # [P, K] per unit
    bound: np.ndarray | None  # [K] eV², the mean over the paths; None without atomic energies
    mismatch: float | None  # the largest over the paths

    @classmethod
    def of(cls, errors: Sequence[PathErrors]) -> "ErrorSpectrum":
        """The spectra of the errors along several paths with equal numbers of samples."""
        frequencies, powers = (np.stack(each) for each in zip(*(one.powers() for one in errors), strict=True))
        bounds = [bound for one in errors if (bound := one.bound()) is not None]
        mismatches = [value for one in errors if (value := one.mismatch()) is not None]
        return cls(
            omega=frequencies.mean(axis=0),
            powers=powers,
            frequencies=frequencies,
            bound=np.mean(bounds, axis=0) if len(bounds) == len(errors) else None,
            mismatch=max(mismatches, default=None),
        )

    def power(self, order: int = 0) -> np.ndarray:
        """[K] the mean over the paths of a mode's contribution to the mean square of δE, δF or δH (order 0, 1, 2)."""
        return (self.frequencies ** (2 * order) * self.powers).mean(axis=0)

    def parts(self, first_high: int, constant: bool) -> dict[str, np.ndarray]:
        """[P] mean squares along each path: of δE by parts of its spectrum, of δF and of δH; see `summary`."""
        found = {"constant": self.powers[:, 0]} if constant else {}
        return found | {
            "low": self.powers[:, 1:first_high].sum(axis=1),
            "high": self.powers[:, first_high:].sum(axis=1),
            "energy": self.powers[:, 1:].sum(axis=1),
            "force": (self.frequencies**2 * self.powers).sum(axis=1),
            "hessian": (self.frequencies**4 * self.powers).sum(axis=1),
        }

    def ratios(self, other: "ErrorSpectrum", first_high: int, constant: bool) -> dict[str, list[float]]:
        """This student's root mean squares relative to those of another along the same paths, by part.

        Each is the ratio with its 95 % interval, from 1000 bootstrap samples of the paths.
        """
        ours, theirs = self.parts(first_high, constant), other.parts(first_high, constant)
        paths = len(self.powers)
        drawn = np.random.default_rng(0).integers(paths, size=(SAMPLES, paths))
        found = {}
        for part in ours:
            if theirs[part].all():
                samples = np.sqrt(ours[part][drawn].sum(axis=1) / theirs[part][drawn].sum(axis=1))
                whole = np.sqrt(ours[part].sum() / theirs[part].sum())
                found[part] = [float(each) for each in (whole, *np.percentile(samples, [2.5, 97.5]))]
        return found

    def summary(self, first_high: int, constant: bool) -> dict[str, Any]:
        """Root mean squares in meV (per unit, per unit²) over the paths; ± is the standard error of the mean.

        first_high: the mode, counted from 1, at which high frequencies begin; constant: whether the constant mode means
        something, because teacher and student count energies from one zero.
        """
        parts = self.parts(first_high, constant)
        found: dict[str, Any] = {f"{name}_rms_meV": root_mean(values) for name, values in parts.items()}
        found |= {f"{name}_rms_meV_error": root_error(values) for name, values in parts.items()}
        share = parts["low"].sum() / parts["energy"].sum() if parts["energy"].any() else None
        return {**found, "low_share": None if share is None else float(share), "sampling_mismatch": self.mismatch}


def root_mean(squares: np.ndarray) -> float:
    """The root (meV) of a mean of squares (eV²)."""
    return float(1e3 * np.sqrt(squares.mean()))


def root_error(squares: np.ndarray) -> float | None:
    """The standard error (meV) of `root_mean`, None for a single path."""
    if len(squares) < 2 or not squares.mean():
        return None
    return float(1e3 * squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * np.sqrt(squares.mean())))
