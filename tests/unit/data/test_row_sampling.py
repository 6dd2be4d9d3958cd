"""Every Hessian row is used once before any is used twice."""

import numpy as np
import pytest

from jointkd.data.row_sampling import sample_rows

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def epochs(stored: int, count: int, number: int, seed: int = 0, key: str = KEY) -> list[list[int]]:
    """The rows of the first epochs."""
    return [sample_rows(stored, count, seed, key, epoch).tolist() for epoch in range(number)]


@pytest.mark.parametrize(
    ("stored", "count"), [(9, 1), (9, 4), (12, 4), (27, 4), (5, 5), (7, 5), (3, 8), (9, 20), (1, 1)]
)
def test_every_row_is_used_once_before_any_is_used_twice(stored, count):
    rows = np.concatenate(epochs(stored, count, 60))
    assert len(rows) == 60 * count
    for begin in range(0, len(rows) - stored + 1, stored):
        assert sorted(rows[begin : begin + stored]) == list(range(stored))


@pytest.mark.parametrize(("stored", "count"), [(9, 4), (8, 4), (11, 4), (27, 4), (237, 4), (10, 3)])
def test_no_epoch_uses_a_row_twice_if_enough_are_stored(stored, count):
    assert all(len(set(rows)) == count for rows in epochs(stored, count, 200))


def test_each_block_is_shuffled_anew_and_depends_on_seed_and_key():
    blocks = [tuple(np.concatenate(epochs(9, 3, 30)[3 * block : 3 * block + 3])) for block in range(10)]
    assert len(set(blocks)) == 10
    assert epochs(9, 3, 3, seed=1) != epochs(9, 3, 3)
    assert epochs(9, 3, 3, key=OTHER) != epochs(9, 3, 3)


def test_all_rows_are_equally_likely_to_come_first():
    first = [sample_rows(6, 1, seed, KEY, 0)[0] for seed in range(3000)]
    counts = np.bincount(first, minlength=6)
    assert counts.min() > 400  # 500 expected, five standard deviations are 102
