"""Extrema, barriers and differences of energy profiles."""

import numpy as np
import pytest

from jointkd.evaluation.profiles import Curves, Profile, closes, nearest, relative_rmse

ANGLES = np.arange(0.0, 360.0, 10.0)


def threefold(angles: np.ndarray, height: float = 0.12, shift: float = 0.0) -> np.ndarray:
    return -100 + height / 2 * (1 + np.cos(3 * np.radians(angles - shift)))


def test_extrema_of_a_threefold_torsion_on_the_grid_are_exact():
    minima, maxima = Profile(ANGLES, threefold(ANGLES)).extrema()
    assert [each.angle_deg for each in maxima] == pytest.approx([0, 120, 240])
    assert [each.angle_deg for each in minima] == pytest.approx([60, 180, 300])
    assert [each.energy_meV for each in maxima] == pytest.approx([120] * 3)
    assert [each.energy_meV for each in minima] == pytest.approx([0] * 3, abs=1e-9)


def test_extrema_between_two_angles_are_found_to_third_order():
    def error(step: float) -> float:
        angles = np.arange(0.0, 360.0, step)
        return abs(Profile(angles, threefold(angles, shift=0.3 * step)).extrema()[1][1].angle_deg - 120 - 0.3 * step)

    assert 0 < error(10) < 0.2
    assert error(5) < error(10) / 6  # the position of the vertex; 2³ = 8 in the limit


def test_the_order_and_the_turn_of_angles_do_not_matter_and_failed_ones_do_not_count():
    energies = threefold(ANGLES)
    energies[7] = np.nan
    order = np.random.default_rng(0).permutation(len(ANGLES))
    expected = Profile(ANGLES, energies).summary()
    assert Profile(ANGLES[order] - 360, energies[order]).summary() == expected
    assert expected["barrier_meV"] == pytest.approx(120, abs=0.01)


def test_a_slice_with_open_ends_has_no_extremum_there():
    part = ANGLES[3:20]  # 30° to 190°
    minima, maxima = Profile(part, threefold(part)).extrema()
    assert [each.angle_deg for each in minima] == pytest.approx([60, 180])
    assert [each.angle_deg for each in maxima] == pytest.approx([120])
    assert not closes(part)
    assert closes(ANGLES)


def test_a_monotonous_or_an_empty_profile_has_no_barrier():
    for energies in (ANGLES[:9] / 1e3, np.full(9, np.nan)):
        summary = Profile(ANGLES[:9], energies).summary()
        assert summary["barrier_meV"] is None
        assert summary["minima"] == summary["maxima"] == []


def test_relative_energies_differ_apart_from_a_constant():
    energies = threefold(ANGLES)
    assert relative_rmse(energies + 7.0, energies) == pytest.approx(0, abs=1e-9)
    twice = threefold(ANGLES, height=0.24)
    assert relative_rmse(twice, energies) == pytest.approx(1e3 * 0.06 / np.sqrt(2))  # of a cosine of amplitude 60 meV
    assert relative_rmse(energies, np.full(36, np.nan)) is None


def test_curves_are_compared_by_barrier_position_and_rmse():
    curves = Curves("", ANGLES, {"reference": threefold(ANGLES), "student": threefold(ANGLES, 0.24, shift=10) + 3})
    assert curves.relative("student").max() == pytest.approx(240)
    found = curves.compare(["reference", "teacher"])
    assert found["student"]["to_reference"]["barrier_meV"] == pytest.approx(120)
    assert found["student"]["to_reference"]["minimum_angle_deg"] == pytest.approx(10)
    assert found["student"]["to_reference"]["barrier_angle_deg"] == pytest.approx(10)
    assert "to_reference" not in found["reference"]
    assert "to_teacher" not in found["student"]


def test_the_nearest_extremum_is_found_around_the_turn():
    extrema = [{"angle_deg": 350.0}, {"angle_deg": 100.0}]
    assert nearest(extrema, 10.0) == pytest.approx(-20)
    assert nearest(extrema, 90.0) == pytest.approx(10)
    assert nearest(extrema, None) is None
    assert nearest([], 10.0) is None
