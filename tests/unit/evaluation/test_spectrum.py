"""The paper's lemmas and bounds on band-limited random errors, in float64."""

import numpy as np
import pytest

from jointkd.evaluation.spectrum import (
    Spectrum,
    derivative,
    force_bound,
    hessian_bound,
    high_bound,
    low_bound,
    mode_bound,
    objective,
    one_sided,
    penalty,
    windowed,
)

LENGTH, GRID, BAND = 2.5, 12, 3  # more than 2 · 3 points along an axis: nothing is aliased
THRESHOLDS = (0.1, 2.0, 3.0, 5.0, 7.6, 12.0)


class Series:
    """A random Fourier series in d dimensions with its gradient and Hessian, written out term by term."""

    def __init__(self, dimensions: int, seed: int, modes: int = 8, lowest: int = 0) -> None:
        rng = np.random.default_rng(seed)
        waves = rng.integers(-BAND, BAND + 1, size=(modes, dimensions))
        waves[0] = 0  # the constant
        if lowest:
            waves = waves[np.linalg.norm(waves, axis=1) >= lowest]
        self.waves = 2 * np.pi / LENGTH * waves
        self.amplitudes, self.phases = rng.normal(size=len(waves)), rng.uniform(0, 2 * np.pi, len(waves))
        axes = np.meshgrid(*[LENGTH * np.arange(GRID) / GRID] * dimensions, indexing="ij")
        self.angle = np.stack(axes, axis=-1) @ self.waves.T + self.phases  # [grid…, modes]
        self.volume = LENGTH**dimensions / GRID**dimensions

    def energy(self) -> np.ndarray:
        return np.cos(self.angle) @ self.amplitudes

    def norms(self) -> tuple[float, float, float]:
        """‖δE‖², ‖δF‖², ‖δH‖² by quadrature over the grid, of derivatives in closed form."""
        gradient = -np.sin(self.angle) @ (self.amplitudes[:, None] * self.waves)
        products = self.waves[:, :, None] * self.waves[:, None, :]
        hessian = -np.tensordot(np.cos(self.angle), self.amplitudes[:, None, None] * products, axes=1)
        return tuple(self.volume * float((each**2).sum()) for each in (self.energy(), gradient, hessian))

    def spectrum(self) -> Spectrum:
        return Spectrum.of(self.energy(), LENGTH)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_energy_force_and_hessian_errors_share_their_coefficients(dimensions, seed):
    """Lemma 3.2, eqs. 12, 13 and 14."""
    series = Series(dimensions, seed)
    found = [series.spectrum().norm(order) for order in (0, 1, 2)]
    np.testing.assert_allclose(found, series.norms(), rtol=1e-12)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_hessian_errors_bound_force_errors(dimensions):
    """Theorem 3.3, eqs. 15 and 16."""
    for seed in range(20):
        series = Series(dimensions, seed)
        _, force, _ = series.norms()
        assert force <= force_bound(series.spectrum()) * (1 + 1e-12)
        gap = Series(dimensions, seed, modes=30, lowest=2)
        spectrum, (_, force, _) = gap.spectrum(), gap.norms()
        assert force <= force_bound(spectrum, 2 * np.pi / LENGTH * 2) * (1 + 1e-12)
        assert force_bound(spectrum, 2 * np.pi / LENGTH * 2) == pytest.approx(force_bound(spectrum) / 4)


def test_a_single_mode_of_the_lowest_frequency_attains_the_bound_of_forces():
    values = np.cos(2 * np.pi * np.arange(GRID) / GRID + 0.3)
    spectrum = Spectrum.of(values, LENGTH)
    assert spectrum.norm(1) == pytest.approx(force_bound(spectrum), rel=1e-12)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_hessian_errors_bound_what_lies_above_a_frequency(threshold):
    """Theorem 3.4 and corollary 3.5, eqs. 17, 18 and 19."""
    for seed in range(20):
        series = Series(2, seed)
        spectrum, (energy, _, _) = series.spectrum(), series.norms()
        assert spectrum.above(threshold) <= hessian_bound(spectrum, threshold) * (1 + 1e-12)
        assert spectrum.above(threshold, 1) <= hessian_bound(spectrum, threshold, 1) * (1 + 1e-12)
        assert energy <= (spectrum.below(threshold) + hessian_bound(spectrum, threshold)) * (1 + 1e-12)
        assert spectrum.above(threshold) + spectrum.below(threshold) == pytest.approx(energy)


def test_a_constant_error_has_no_hessian_and_all_its_power_in_the_constant_mode():
    spectrum = Spectrum.of(np.full((GRID, GRID), 0.3), LENGTH)
    assert spectrum.constant == pytest.approx(0.09 * LENGTH**2)
    assert spectrum.norm(0) == pytest.approx(spectrum.constant)
    assert spectrum.norm(2) == pytest.approx(0, abs=1e-25)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (20.0, 1e-3), (1e-3, 0.5)])
def test_atomic_energies_put_a_floor_under_every_mode(alpha, beta):
    """Theorem 3.6 and corollary 3.7, eqs. 22, 23 and 24."""
    for seed in range(10):
        atoms = [Series(2, 100 * seed + atom) for atom in range(5)]
        total = Spectrum.of(sum(each.energy() for each in atoms), LENGTH)
        atomic = sum(each.norms()[0] for each in atoms)
        value = objective(total, atomic, alpha, beta)
        assert value == pytest.approx(alpha * atomic + beta * total.norm(2))
        weights = penalty(total.omega, len(atoms), alpha, beta)
        assert weights.min() == pytest.approx(alpha / 5)
        assert (weights * total.power).sum() <= value * (1 + 1e-12)
        for threshold in THRESHOLDS:
            assert total.below(threshold) <= low_bound(value, 5, alpha)
            assert total.above(threshold) <= high_bound(value, 5, alpha, beta, threshold)
        assert total.constant <= low_bound(value, 5, alpha)


def test_equal_errors_of_all_atoms_attain_the_floor():
    each = Spectrum.of(np.full(GRID, 0.1), LENGTH)
    total = Spectrum.of(np.full(GRID, 0.1 * 5), LENGTH)
    value = objective(total, 5 * each.norm(0), 1.0, 1.0)
    assert total.constant == pytest.approx(low_bound(value, 5, 1.0))


def test_the_bound_of_a_mode_is_flat_at_low_frequencies_and_falls_with_the_fourth_power_at_high_ones():
    series = Series(1, 3)
    spectrum = series.spectrum()
    flat, falling = mode_bound(spectrum, np.array([0.0, 1e3]), 0.5, 4)
    assert flat == pytest.approx(2 * 4 * 0.5)
    assert falling == pytest.approx(2 * spectrum.norm(2) / 1e12, rel=1e-6)
    omega, power = one_sided(spectrum)
    assert (power <= mode_bound(spectrum, omega, spectrum.norm(0), 1)).all()


@pytest.mark.parametrize("count", [11, 12])
def test_both_signs_of_a_frequency_are_counted_together(count):
    values = np.random.default_rng(0).normal(size=count)
    spectrum = Spectrum.of(values, LENGTH)
    omega, power = one_sided(spectrum)
    assert power.sum() == pytest.approx(spectrum.norm(0))
    assert (omega**4 * power).sum() == pytest.approx(spectrum.norm(2))
    np.testing.assert_allclose(omega, 2 * np.pi / LENGTH * np.arange(count // 2 + 1))
    angle = 2 * np.pi * 2 * np.arange(count) / count
    np.testing.assert_allclose(one_sided(Spectrum.of(3 * np.cos(angle), LENGTH))[1][2], LENGTH * 9 / 2)


def test_a_window_keeps_the_mean_and_the_size_of_fluctuations_and_ends_smoothly():
    values = 4.0 + np.random.default_rng(1).normal(size=4000)
    made = windowed(values)
    assert made.mean() == pytest.approx(4.0, abs=0.1)
    assert np.std(made) == pytest.approx(np.std(values), rel=0.05)
    assert abs(made[0] - made[-1]) < 1e-4
    ramp = Spectrum.of(np.linspace(-1, 1, 64), 1.0), Spectrum.of(windowed(np.linspace(-1, 1, 64)), 1.0)
    assert one_sided(ramp[1])[1][10:].sum() < 0.01 * one_sided(ramp[0])[1][10:].sum()


@pytest.mark.parametrize("count", [15, 16])
def test_the_derivative_of_samples_is_that_of_the_series(count):
    x = LENGTH * np.arange(count) / count
    wave = 2 * np.pi / LENGTH
    np.testing.assert_allclose(
        derivative(np.sin(3 * wave * x) + 0.5 * np.cos(wave * x) + 2, LENGTH),
        3 * wave * np.cos(3 * wave * x) - 0.5 * wave * np.sin(wave * x),
        atol=1e-12,
    )
