"""The choice of Hessian rows, and random probes."""

import numpy as np
import pytest

from jointkd.labels.directions import choose_rows, components, draw_probes, vectors
from tests.teachers import frames_of

KEY = "ab" * 16


def test_the_choice_of_rows_depends_on_key_and_seed_only():
    frames = frames_of(20)
    forwards = [choose_rows(frame.key, len(frame), 4, seed=3) for frame in frames]
    backwards = [choose_rows(frame.key, len(frame), 4, seed=3) for frame in reversed(frames)][::-1]
    for first, second in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(first, second)
    other_seed = [choose_rows(frame.key, len(frame), 4, seed=4) for frame in frames]
    assert any(not np.array_equal(a, b) for a, b in zip(forwards, other_seed, strict=True))
    assert len({tuple(choose_rows(frame.key, 100, 4, seed=3)) for frame in frames}) == 20


def test_chosen_rows_are_distinct_rows_of_the_structure_in_ascending_order():
    for frame in frames_of(20):
        rows = choose_rows(frame.key, len(frame), 5, seed=0)
        assert len(rows) == 5
        assert (np.diff(rows) > 0).all()
        assert rows[0] >= 0
        assert rows[-1] < 3 * len(frame)


@pytest.mark.parametrize("rows", ["all", 9, 10])
def test_a_structure_with_at_most_as_many_rows_gets_all(rows):
    np.testing.assert_array_equal(choose_rows(KEY, 3, rows, seed=0), np.arange(9))


def test_all_rows_are_equally_likely():
    rows = np.concatenate([choose_rows(frame.key, 5, 3, seed=0) for frame in frames_of(1000)])
    counts = np.bincount(rows, minlength=15)
    assert (np.abs(counts - 200) < 60).all()  # four standard deviations


def test_probes_depend_on_key_and_seed_only():
    probes = draw_probes(KEY, 5, 3, seed=1)
    assert probes.shape == (3, 5, 3)
    np.testing.assert_array_equal(draw_probes(KEY, 5, 3, seed=1), probes)
    np.testing.assert_array_equal(draw_probes(KEY, 5, 2, seed=1), probes[:2])  # more are added behind the others
    for key, seed in ((KEY, 2), ("cd" * 16, 1)):
        assert not np.array_equal(draw_probes(key, 5, 3, seed), probes)


def test_probes_have_length_one_and_no_preferred_direction():
    probes = draw_probes(KEY, 2, 20_000, seed=0).reshape(-1, 6).astype(float)
    np.testing.assert_allclose(np.linalg.norm(probes, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(probes.mean(0), 0, atol=4 / np.sqrt(6 * 20_000))  # four standard deviations
    np.testing.assert_allclose(6 * probes.T @ probes / 20_000, np.eye(6), atol=0.04)


def test_rows_are_unit_vectors():
    rows, values = np.array([4, 0]), np.random.default_rng(0).normal(size=(7, 2, 3))
    units = vectors(rows, 2)
    assert units.shape == (2, 2, 3)
    assert units[0, 1, 1] == units[1, 0, 0] == 1
    assert units.sum() == 2
    np.testing.assert_array_equal(components(values, rows), components(values, units))
    np.testing.assert_array_equal(components(values, rows), values.reshape(7, 6)[:, [4, 0]])
    np.testing.assert_array_equal(vectors(units, 2), units)
