"""The record of test structures as reports read it, and the intervals of the mean errors over their choice."""

import numpy as np
import pytest

from jointkd.reports.structures import TestedStructures


def structures(count: int, seed: int = 0) -> TestedStructures:
    """Structures of 10 and 20 atoms, whose energies are off by 5 meV and whose forces by 100 meV/Å on average."""
    rng = np.random.default_rng(seed)
    atoms, energies = 10.0 * rng.integers(1, 3, count), np.zeros(count)
    off = rng.exponential(5e-3, count) * atoms
    return TestedStructures(["H2"] * count, atoms, energies, energies + off, energies, rng.exponential(100, count))


def test_intervals_hold_the_true_error_about_as_often_as_they_say():
    held = {"energy_mae_meV_per_atom": 0, "force_mae_meV_per_A": 0}
    for seed in range(40):
        intervals = structures(100, seed).intervals()
        for name, true in (("energy_mae_meV_per_atom", 5.0), ("force_mae_meV_per_A", 100.0)):
            low, high = intervals[name]
            held[name] += low < true < high
    assert all(32 <= count <= 40 for count in held.values())


def test_forces_are_averaged_over_atoms_and_energies_over_structures():
    zeros = np.zeros(2)
    pair = TestedStructures(["H"] * 2, np.array([1.0, 3.0]), zeros, np.array([0.01, 0.06]), zeros, np.array([4.0, 8.0]))
    means = {name: float((values * weights).sum() / weights.sum()) for name, (values, weights) in pair.errors().items()}
    assert means == pytest.approx({"energy_mae_meV_per_atom": 15, "energy_mae_meV": 35, "force_mae_meV_per_A": 7})


def test_a_single_structure_has_no_interval():
    assert structures(1).intervals() == {}


def test_more_structures_have_a_narrower_interval_and_the_same_ones_the_same():
    few, many = (structures(count).intervals()["force_mae_meV_per_A"] for count in (50, 5000))
    assert (many[1] - many[0]) < (few[1] - few[0]) / 5
    assert structures(50).intervals()["force_mae_meV_per_A"] == few
