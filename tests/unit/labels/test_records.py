"""The choice of Hessian rows, and the identity of teachers."""

import numpy as np
import pytest

from jointkd.labels.records import TeacherIdentity, choose_rows
from tests.teachers import frames_of


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
    np.testing.assert_array_equal(choose_rows("ab" * 16, 3, rows, seed=0), np.arange(9))


def test_all_rows_are_equally_likely():
    rows = np.concatenate([choose_rows(frame.key, 5, 3, seed=0) for frame in frames_of(1000)])
    counts = np.bincount(rows, minlength=15)
    assert (np.abs(counts - 200) < 60).all()  # four standard deviations


def test_identities_of_older_labels_have_atomic_energies():
    old = TeacherIdentity("t", "0", "float64", (1,), {1: 0.0}).to_json()
    del old["atomic_energies"]
    assert TeacherIdentity.from_json(old).atomic_energies
