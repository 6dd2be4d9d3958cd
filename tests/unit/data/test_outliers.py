"""Energies that cannot belong to their structures are found, and wide spreads are not taken for them."""

import numpy as np
import pytest

from jointkd.data.outliers import absurd_energies

FREE = {1: -13.0, 6: -1030.0, 8: -2040.0}
KINDS = ((8, 1, 1), (6, 8, 1, 1, 1, 1), (6, 1, 1, 1, 1))


def set_of(count: int, spread: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of all atoms, first atoms and energies of structures of three kinds in turn."""
    rng = np.random.default_rng(0)
    kinds = [KINDS[number % 3] for number in range(count)]
    energies = [sum(FREE[z] for z in kind) + len(kind) * rng.normal(-4, spread) for kind in kinds]
    first = np.concatenate([[0], np.cumsum([len(kind) for kind in kinds])])
    return np.concatenate(kinds), first, np.array(energies)


@pytest.mark.parametrize("wrong", [1e6, -1e6, 0.0, 1e-3])
def test_an_absurd_energy_among_sixty_is_found(wrong):
    numbers, first, energies = set_of(60)
    energies[17] = wrong
    assert np.flatnonzero(absurd_energies(numbers, first, energies)).tolist() == [17]


def test_missing_energies_are_not_judged():
    numbers, first, energies = set_of(60)
    energies[::2] = np.nan
    energies[17] = 1e6
    assert np.flatnonzero(absurd_energies(numbers, first, energies)).tolist() == [17]
    assert not absurd_energies(numbers, first, np.full(60, np.nan)).any()


@pytest.mark.parametrize("shift", [5.0, 9.0])
def test_strained_structures_are_kept(shift):
    numbers, first, energies = set_of(60)
    energies[3] += shift * np.diff(first)[3]
    assert not absurd_energies(numbers, first, energies).any()


def test_two_levels_of_theory_are_not_outliers():
    numbers, first, energies = set_of(60)
    energies[::2] /= 20
    assert not absurd_energies(numbers, first, energies).any()


def test_a_few_structures_are_not_judged():
    numbers, first, energies = set_of(6)
    energies[2] = 1e6
    assert not absurd_energies(numbers, first, energies).any()
