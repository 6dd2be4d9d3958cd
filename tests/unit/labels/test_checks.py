"""The errors that labels are checked for, against plain numbers."""

from dataclasses import replace

import numpy as np
import pytest

from jointkd.labels.checks import acoustic_error, asymmetry, difference_error, energy_error, force_error
from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from tests.teachers import IDENTITY, along

FRAME = Frame(np.array([1, 1, 8]), np.arange(9.0).reshape(3, 3))


def labels_with(rows, row_ids, energy: float = 0.0, atomic=(0.0, 0.0, 0.0), forces=None) -> TeacherLabels:
    given = np.zeros((3, 3)) if forces is None else np.asarray(forces, dtype=float)
    return TeacherLabels(energy, np.array(atomic), given, np.asarray(rows, dtype=float), np.array(row_ids))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_sum_of_a_row_counts_along_its_worst_axis(axis):
    rows = np.zeros((2, 3, 3))
    rows[1, 0], rows[1, 1] = 2.0, -2.0
    rows[1, 2, axis] = -0.3
    assert acoustic_error(labels_with(rows, [0, 1])) == pytest.approx(0.3 / 2)
    assert acoustic_error(labels_with(rows[:1], [0])) == 0


def test_asymmetry_is_the_largest_of_all_pairs_of_labelled_rows():
    rows = np.zeros((3, 3, 3))
    rows[0, 0, 1], rows[1, 0, 0] = 1.0, 0.6  # H_01 and H_10
    rows[2, 2, 2] = 4.0
    assert asymmetry(labels_with(rows, [0, 1, 8])) == pytest.approx(0.4 / 4)
    rows[1, 0, 0] = 1.0
    rows[0, 1, 0] = 3.0  # H_03, whose row is not labelled
    assert asymmetry(labels_with(rows, [0, 1, 8])) == 0


def test_products_with_probes_are_symmetric_in_the_probes():
    rng = np.random.default_rng(0)
    hessian = rng.normal(size=(9, 9))
    probes = rng.normal(size=(3, 3, 3))
    for matrix, symmetric in ((hessian + hessian.T, True), (hessian, False)):
        products = along(matrix.reshape(9, 3, 3), probes)
        error = asymmetry(TeacherLabels(0.0, np.zeros(0), np.zeros((3, 3)), products, probes))
        square = probes.reshape(3, 9) @ matrix @ probes.reshape(3, 9).T
        assert error == pytest.approx(np.abs(square - square.T).max() / np.abs(products).max(), abs=1e-12)
        assert (error < 1e-12) == symmetric


def test_products_with_probes_are_compared_with_differences_of_forces_along_them():
    rng = np.random.default_rng(0)
    hessian = rng.normal(size=(9, 9))
    hessian += hessian.T
    probes, moves = rng.normal(size=(4, 3, 3)), 1e-3 * rng.normal(size=(2, 3, 3))
    forces = [-sign * (hessian @ move.ravel()).reshape(3, 3) for move in moves for sign in (1, -1)]
    products = along(hessian.reshape(9, 3, 3), probes)
    labels = TeacherLabels(0.0, np.zeros(0), np.zeros((3, 3)), products, probes)
    assert difference_error(labels, moves, forces) < 1e-12
    assert difference_error(replace(labels, hessian_rows=1.1 * products), moves, forces) > 1e-3


def test_the_error_of_the_energy_is_per_atom():
    free = IDENTITY.free_atoms_energy(FRAME.numbers)
    labels = labels_with(np.zeros((0, 3, 3)), [], energy=free - 5.7, atomic=(-1.0, -2.0, -3.0))
    assert energy_error(labels, FRAME, IDENTITY) == pytest.approx(0.3 / 3)
    without = replace(labels, atomic_energies=np.zeros(0))
    assert energy_error(without, FRAME, IDENTITY) == 0


def test_differences_of_forces_are_compared_with_the_largest_entry_times_the_largest_move():
    rows, moves = np.zeros((1, 3, 3)), np.zeros((2, 3, 3))
    rows[0, 1] = 2.0, 0.0, -4.0
    moves[0, 1, 0], moves[1, 1, 2] = 0.1, 0.05
    plus = [-0.2, 0.2]  # -row · move of the labelled coordinate, for each move
    labelled = np.outer([0, 0, 1], [0, 1, 0])
    forces = [sign * value * labelled for value in plus for sign in (1, -1)]
    labels = labels_with(rows, [7])
    assert difference_error(labels, moves, forces) == pytest.approx(0, abs=1e-12)
    forces[2] = forces[2] + 0.04 * labelled
    assert difference_error(labels, moves, forces) == pytest.approx(0.02 / (4 * 0.1))


def test_differences_of_energies_are_compared_with_the_largest_work_of_the_forces():
    moves = np.zeros((2, 3, 3))
    moves[0, 0, 0], moves[1, 2, 1] = 0.1, 0.1
    forces = np.zeros((3, 3))
    forces[0, 0], forces[2, 1] = 3.0, -5.0
    labels = labels_with(np.zeros((0, 3, 3)), [], forces=forces)
    assert force_error(labels, moves, [-0.3, 0.3, 0.5, -0.5]) == pytest.approx(0, abs=1e-12)
    assert force_error(labels, moves, [-0.3, 0.3, 0.5, -0.4]) == pytest.approx(0.05 / 0.5)
