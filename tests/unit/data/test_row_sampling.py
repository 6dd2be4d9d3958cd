"""Every Hessian row once before any twice."""

import numpy as np
import pytest

from jointkd.data.row_sampling import drawn

KEY, OTHER = "0123456789abcdef" * 2, "fedcba9876543210" * 2


def epochs(stored: int, wanted: int, count: int, seed: int = 0, key: str = KEY) -> list[list[int]]:
    return [drawn(stored, wanted, seed, key, epoch).tolist() for epoch in range(count)]


@pytest.mark.parametrize(
    ("stored", "wanted"), [(9, 1), (9, 4), (12, 4), (27, 4), (5, 5), (7, 5), (3, 8), (9, 20), (1, 1)]
)
def test_every_row_is_seen_once_before_any_is_seen_twice(stored, wanted):
    seen = np.concatenate(epochs(stored, wanted, 60))
    assert len(seen) == 60 * wanted
    for begin in range(0, len(seen) - stored + 1, stored):
        assert sorted(seen[begin : begin + stored]) == list(range(stored))


@pytest.mark.parametrize(("stored", "wanted"), [(9, 4), (8, 4), (11, 4), (27, 4), (237, 4), (10, 3)])
def test_no_epoch_has_a_row_twice_where_there_are_enough(stored, wanted):
    assert all(len(set(rows)) == wanted for rows in epochs(stored, wanted, 200))


def test_packs_are_shuffled_each_in_its_own_way():
    packs = [tuple(np.concatenate(epochs(9, 3, 30)[3 * pack : 3 * pack + 3])) for pack in range(10)]
    assert len(set(packs)) == 10
    assert epochs(9, 3, 3, seed=1) != epochs(9, 3, 3)
    assert epochs(9, 3, 3, key=OTHER) != epochs(9, 3, 3)


def test_all_rows_come_as_often_at_every_place():
    first = [drawn(6, 1, seed, KEY, 0)[0] for seed in range(3000)]
    counts = np.bincount(first, minlength=6)
    assert counts.min() > 400  # 500 expected, five standard deviations are 102
