"""How far structures are from those of the training."""

from dataclasses import replace

import numpy as np
import pytest

from jointkd.errors import DataError
from jointkd.evaluation import training_distance
from jointkd.evaluation.training_distance import TrainingDistance
from jointkd.structures.frame import Frame
from tests.files import frames


def bond(length: float) -> Frame:
    return Frame(np.array([8, 1]), np.array([[0.0, 0, 0], [0, 0, length]]))


def test_at_one_a_structure_is_as_new_as_those_of_the_training_are_to_each_other():
    distance = TrainingDistance([bond(length) for length in (0.95, 0.96, 0.97, 0.98)])
    assert distance(bond(0.96)) == pytest.approx(0, abs=1e-9)
    assert distance(bond(0.99)) == pytest.approx(1, rel=0.1)
    assert distance(bond(0.965)) == pytest.approx(0.5, rel=0.1)
    assert distance(bond(0.94)) < distance(bond(0.92)) < distance(bond(0.88))


def test_a_structure_of_the_training_in_another_place_is_not_new():
    some = frames(9)
    moved = replace(some[4], positions=some[4].positions[:, [2, 0, 1]] + 5.0)
    assert TrainingDistance(some)(moved) == pytest.approx(0, abs=1e-6)


def test_a_new_element_is_infinitely_far():
    assert TrainingDistance(frames(9))(Frame(np.array([9, 1]), np.array([[0.0, 0, 0], [0, 0, 0.92]]))) == np.inf


def test_many_structures_of_the_training_are_thinned_out_evenly(monkeypatch):
    monkeypatch.setattr(training_distance, "MOST_KNOWN", 4)
    distance = TrainingDistance([bond(1 + 0.01 * number) for number in range(10)])
    assert len(distance.known) == 4
    assert distance(bond(1.09)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_structures_without_a_different_neighbour_are_refused(count):
    with pytest.raises(DataError, match=f"training has {count} structures, of which too few differ"):
        TrainingDistance([bond(0.96)] * count)
