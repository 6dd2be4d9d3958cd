"""The Fourier spectrum of the energy error δE, and the paper's bounds on it (section 3).

Energy, force and Hessian errors share the coefficients a_k of δE on a torus of period L, weighted by 1, ω² and ω⁴ with
ω = 2π‖k‖/L (eqs. 12 to 14). Norms here are those of L², as in the paper: ‖δE‖² = ∫ δE² dx.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spectrum:
    """The coefficients of δE on a d-dimensional torus, with their frequencies; arrays of one shape, a mode each."""

    power: np.ndarray  # |a_k|², eV² times a volume
    omega: np.ndarray  # ω_k, per unit of length
    length: float  # L, the period along each axis
    dimensions: int  # d

    @classmethod
    def of(cls, values: np.ndarray, length: float) -> "Spectrum":
        """The spectrum of samples (eV) on a regular grid of d axes, each of which spans the period `length`.

        It is exact for an error without frequencies above half those of the grid; others are aliased. Eqs. 9, 10.
        """
        dimensions = values.ndim
        scale = length ** (dimensions / 2) / values.size
        waves = np.meshgrid(*(np.fft.fftfreq(count, 1 / count) for count in values.shape), indexing="ij")
        omega = 2 * np.pi / length * np.sqrt(sum(wave**2 for wave in waves))
        return cls(np.abs(scale * np.fft.fftn(values)) ** 2, omega, length, dimensions)

    def norm(self, order: int = 0) -> float:
        """‖δE‖², ‖δF‖² or ‖δH‖² for order 0, 1 or 2: Σ ω^(2·order) |a|² (eqs. 12, 13, 14)."""
        return float((self.omega ** (2 * order) * self.power).sum())

    def above(self, threshold: float, order: int = 0) -> float:
        """The part of `norm` from frequencies of at least `threshold`."""
        kept = self.omega >= threshold
        return float((self.omega[kept] ** (2 * order) * self.power[kept]).sum())

    def below(self, threshold: float, order: int = 0) -> float:
        """The part of `norm` from frequencies below `threshold`, the constant mode included."""
        return self.norm(order) - self.above(threshold, order)

    @property
    def constant(self) -> float:
        """|a_0|²: the power of the constant mode, on which no Hessian has a say."""
        return float(self.power.flat[0])


def force_bound(spectrum: Spectrum, gap: float | None = None) -> float:
    """What ‖δF‖² cannot exceed, from ‖δH‖²: by the period (eq. 15), or by the lowest frequency that occurs (eq. 16)."""
    lowest = 2 * np.pi / spectrum.length if gap is None else gap
    return spectrum.norm(2) / lowest**2


def hessian_bound(spectrum: Spectrum, threshold: float, order: int = 0) -> float:
    """What the energy's (order 0, eq. 17) or forces' (order 1, eq. 18) part above a frequency cannot exceed."""
    return spectrum.norm(2) / threshold ** (4 - 2 * order)


def objective(spectrum: Spectrum, atomic: float, alpha: float, beta: float) -> float:
    """L of joint training (eq. 21): α Σ_i ‖δE_atom,i‖² + β ‖δH‖². atomic: the sum over the atoms."""
    return alpha * atomic + beta * spectrum.norm(2)


def penalty(omega: np.ndarray, atoms: int, alpha: float, beta: float) -> np.ndarray:
    """α/N + β ω⁴: by how much a mode is penalised at least (eq. 22); α/N is the floor that does not depend on ω."""
    return alpha / atoms + beta * omega**4


def low_bound(value: float, atoms: int, alpha: float) -> float:
    """What the energy's part below any frequency cannot exceed, from the value of the objective (eq. 23)."""
    return value * atoms / alpha


def high_bound(value: float, atoms: int, alpha: float, beta: float, threshold: float) -> float:
    """What the energy's part above a frequency cannot exceed, from the value of the objective (eq. 24)."""
    return value / (alpha / atoms + beta * threshold**4)


def mode_bound(spectrum: Spectrum, omega: np.ndarray, atomic: float, atoms: int) -> np.ndarray:
    """What the power of a pair of modes ±k at these frequencies cannot exceed, by eq. 22.

    α and β are such that both terms of the objective are 1: then nothing is chosen, and the bound is within a factor of
    two of the smaller of those by either term alone, N Σ_i ‖δE_atom,i‖² (flat) and ‖δH‖² / ω⁴.
    """
    alpha, beta = 1 / atomic, 1 / spectrum.norm(2)
    return objective(spectrum, atomic, alpha, beta) / penalty(omega, atoms, alpha, beta)


def one_sided(spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies ω [K] in ascending order and the powers [K] of ±k together, of a spectrum of one dimension."""
    count = len(spectrum.power)
    half = count // 2 + 1
    power = spectrum.power[:half].copy()
    power[1 : (count + 1) // 2] += spectrum.power[: -((count + 1) // 2) : -1]
    return spectrum.omega[:half], power


def windowed(values: np.ndarray) -> np.ndarray:
    """Samples of a function that is not periodic, made so: around their mean multiplied by a Hann window.

    values [M], evenly spaced. The mean is kept, and the window's mean square is one, so that powers stay comparable.
    """
    window = np.sin(np.pi * (np.arange(len(values)) + 0.5) / len(values)) ** 2
    mean = (window * values).sum() / window.sum()
    return mean + np.sqrt(8 / 3) * window * (values - mean)


def derivative(values: np.ndarray, length: float) -> np.ndarray:
    """[M] the derivative of a periodic function from its samples [M], exact below half the frequency of sampling."""
    waves = np.fft.fftfreq(len(values), 1 / len(values))
    if len(values) % 2 == 0:
        waves[len(values) // 2] = 0.0  # its phase is not known
    return np.fft.ifft(2j * np.pi / length * waves * np.fft.fft(values)).real
