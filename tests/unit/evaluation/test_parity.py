"""The density of a parity plot, and its picture."""

from dataclasses import replace

import numpy as np
from matplotlib import image

from jointkd.evaluation.density import BINS, Density
from jointkd.evaluation.parity import Parity
from jointkd.evaluation.predictions import Predicted
from tests.files import frames


def test_a_density_that_has_doubled_its_range_is_the_histogram_of_all_values():
    rng = np.random.default_rng(0)
    density, pairs = Density(center=0.0), rng.normal(scale=(0.001, 5.0), size=(3, 1000, 2)) * [[[0.1]], [[1]], [[9]]]
    for reference, predicted in np.moveaxis(pairs, 2, 1):
        density.add(reference, predicted)
    edges = np.linspace(-density.range, density.range, BINS + 1)
    expected, *_ = np.histogram2d(*pairs.reshape(-1, 2).T, bins=(edges, edges))
    np.testing.assert_array_equal(density.counts, expected)


def test_energies_far_from_zero_are_resolved_around_the_first_one():
    density = Density()
    density.add(np.array([-2000.0, -2000.01]), np.array([-2000.01, -2000.0]))
    assert (density.center, density.range) == (-2000.0, 1 / 64)
    edges, counts = density.shown()
    assert edges[0] < -2000.01 < -2000.0 < edges[-1]
    assert counts.sum() == 2


def test_a_plot_of_what_there_are_labels_of_is_written(tmp_path):
    parity, empty = Parity(), Parity()
    for frame in frames(6):
        predicted = Predicted(frame, frame.energy + 0.1, np.zeros(len(frame)), frame.forces + 0.1)
        parity.add(predicted, frame.energy + 4 * len(frame))
        empty.add(replace(predicted, frame=replace(frame, energy=None, forces=None)), 0.0)
    assert parity.energies.counts.sum() == 6
    assert parity.forces.counts.sum() == 3 * sum(map(len, frames(6)))
    assert abs(parity.energies.center + 4) < 0.5
    assert parity.save(tmp_path / "parity.png")
    assert np.ptp(image.imread(tmp_path / "parity.png")) > 0.5
    assert not empty.save(tmp_path / "empty.png")
    assert not (tmp_path / "empty.png").exists()
