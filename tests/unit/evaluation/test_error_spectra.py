"""Spectra of errors over several paths, and their summary."""

import numpy as np
import pytest

from jointkd.evaluation.error_spectra import ErrorSpectrum, PathErrors

TURN = 2 * np.pi
ANGLES = TURN * np.arange(32) / 32


def path(values: np.ndarray, atomic: float | None = None, periodic: bool = True, length: float = TURN) -> PathErrors:
    return PathErrors(values, None, atomic, 4, length, periodic)


def test_powers_add_up_to_the_mean_square_whatever_the_period():
    values = 0.2 + 0.1 * np.cos(ANGLES) + 0.05 * np.sin(5 * ANGLES)
    for length in (TURN, 3.7):
        omega, power = path(values, length=length).powers()
        assert power.sum() == pytest.approx((values**2).mean())
        np.testing.assert_allclose(power[[0, 1, 5]], [0.04, 0.005, 0.00125])
        np.testing.assert_allclose(omega, TURN / length * np.arange(17))


def test_the_summary_has_root_mean_squares_over_paths_apart_from_the_constant():
    spectrum = ErrorSpectrum.of([path(0.3 + 0.1 * np.cos(ANGLES)), path(0.1 + 0.02 * np.cos(6 * ANGLES))])
    found = spectrum.summary(first_high=4, constant=True)
    assert found["constant_rms_meV"] == pytest.approx(1e3 * np.sqrt((0.09 + 0.01) / 2))
    assert found["low_rms_meV"] == pytest.approx(1e3 * np.sqrt(0.005 / 2))
    assert found["high_rms_meV"] == pytest.approx(1e3 * np.sqrt(0.0002 / 2))
    assert found["energy_rms_meV"] == pytest.approx(1e3 * np.sqrt(0.0052 / 2))
    assert found["force_rms_meV"] == pytest.approx(1e3 * np.sqrt((0.005 + 36 * 0.0002) / 2))
    assert found["hessian_rms_meV"] == pytest.approx(1e3 * np.sqrt((0.005 + 36**2 * 0.0002) / 2))
    assert found["low_share"] == pytest.approx(0.005 / 0.0052)
    assert found["sampling_mismatch"] is None
    assert "constant_rms_meV" not in spectrum.summary(first_high=4, constant=False)


def test_the_standard_error_is_that_of_the_root_of_a_mean_of_squares():
    rng = np.random.default_rng(0)
    amplitudes = rng.normal(1.0, 0.1, size=(400, 25))
    roots, errors = [], []
    for sample in amplitudes:
        found = ErrorSpectrum.of([path(a * np.cos(ANGLES)) for a in sample]).summary(4, constant=False)
        roots.append(found["low_rms_meV"])
        errors.append(found["low_rms_meV_error"])
    assert np.mean(errors) == pytest.approx(np.std(roots), rel=0.15)
    assert ErrorSpectrum.of([path(np.cos(ANGLES))]).summary(4, constant=False)["low_rms_meV_error"] is None


def test_students_are_compared_along_the_same_paths():
    rng = np.random.default_rng(2)
    amplitudes = rng.uniform(0.1, 2.0, size=40)  # paths differ more than students
    ours = ErrorSpectrum.of([path(0.5 * a * np.cos(ANGLES) + 0.1) for a in amplitudes])
    theirs = ErrorSpectrum.of([path(a * np.cos(ANGLES) + 0.2 * np.cos(5 * ANGLES) + 0.1) for a in amplitudes])
    ratios = ours.ratios(theirs, first_high=4, constant=True)
    assert ratios["low"] == pytest.approx([0.5, 0.5, 0.5])
    assert ratios["constant"] == pytest.approx([1, 1, 1])
    assert ratios["high"] == pytest.approx([0, 0, 0], abs=1e-9)
    whole, low, high = ratios["energy"]
    assert 0.4 < low < whole < high < 0.5
    assert "constant" not in ours.ratios(theirs, first_high=4, constant=False)
    assert "high" not in theirs.ratios(ErrorSpectrum.of([path(0 * ANGLES + a) for a in amplitudes]), 4, constant=True)


def test_the_bound_holds_for_every_mode_and_is_there_only_with_atomic_energies():
    rng = np.random.default_rng(1)
    atoms = rng.normal(size=(4, 7)) @ np.cos(np.arange(7)[:, None] * ANGLES)
    made = path(atoms.sum(axis=0), atomic=float((atoms**2).mean(axis=1).sum()))
    assert (made.powers()[1] <= made.bound()).all()
    spectrum = ErrorSpectrum.of([made, made])
    np.testing.assert_allclose(spectrum.bound, made.bound())
    assert ErrorSpectrum.of([made, path(np.cos(ANGLES))]).bound is None


def test_a_path_that_is_not_periodic_has_no_spurious_high_modes():
    ramp = np.linspace(-1, 1, 64)
    loose, closed = (path(ramp, periodic=periodic).powers()[1][10:].sum() for periodic in (True, False))
    assert closed < 0.01 * loose
    assert path(ramp, periodic=False).mismatch() is None
