"""Fingerprints and the choice of diverse structures."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from scipy.spatial.transform import Rotation

from jointkd.sampling.selection import displaced_by, farthest
from jointkd.structures.fingerprints import fingerprint
from jointkd.structures.frame import Frame
from tests.files import frames
from tests.labelled import frame_of

ELEMENTS = np.array([1, 6, 8])


def test_a_fingerprint_does_not_depend_on_place_orientation_or_order_of_atoms():
    frame = frames(2)[1]
    order = np.random.default_rng(0).permutation(len(frame))
    turned = Rotation.from_euler("xyz", [1, 2, 3]).apply(frame.positions)[order] + 7.0
    same = Frame(frame.numbers[order], turned)
    np.testing.assert_allclose(fingerprint(same, ELEMENTS), fingerprint(frame, ELEMENTS), atol=1e-12)


def test_a_fingerprint_does_not_depend_on_the_cell_that_describes_a_crystal():
    crystal = bulk("MgO", "rocksalt", a=4.2)
    elements = np.array([8, 12])
    once, eight = (fingerprint(frame_of(crystal * size), elements) for size in ((1, 1, 1), (2, 2, 2)))
    np.testing.assert_allclose(once, eight, atol=1e-12)
    assert once.any()


def test_structures_of_other_elements_and_other_distances_have_other_fingerprints():
    water, methanol = frames(2)
    stretched = replace(water, positions=1.1 * water.positions)
    exchanged = replace(water, numbers=np.array([6, 1, 1]))
    prints = [fingerprint(frame, ELEMENTS) for frame in (water, methanol, stretched, exchanged)]
    gaps = [np.linalg.norm(a - b) for n, a in enumerate(prints) for b in prints[:n]]
    assert min(gaps) > 0.1


def test_the_farthest_of_the_remaining_is_chosen_each_time_and_duplicates_never():
    candidates = np.array([[0.1], [5.0], [9.0], [9.05], [3.0]])
    assert farthest(candidates, np.array([[0.0]]), 3, 0.2) == [3, 1, 4]
    assert farthest(candidates, np.array([[0.0]]), 9, 0.2) == [3, 1, 4]
    assert farthest(candidates, np.array([[0.0], [9.0]]), 1, 0.2) == [1]
    assert farthest(candidates, candidates, 3, 0.0) == []
    assert farthest(np.zeros((0, 1)), candidates, 3, 0.0) == []


@pytest.mark.parametrize("displacement", [0.01, 0.05])
def test_the_bound_of_duplicates_grows_with_the_displacement(displacement):
    water, rng = frames(1)[0], np.random.default_rng(0)
    bounds = [displaced_by(water, ELEMENTS, displacement, rng) for _ in range(20)]
    twice = [displaced_by(water, ELEMENTS, 2 * displacement, rng) for _ in range(20)]
    assert 0 < 1.4 * np.mean(bounds) < np.mean(twice)
