"""Densities of predictions: what is joined, coarsened or saved is what was counted."""

import numpy as np

from jointkd.evaluation.density import Density, coarsened, load_densities, save_densities


def test_densities_of_several_processes_join_to_that_of_all_values():
    rng = np.random.default_rng(0)
    parts = [rng.normal(scale=scale, size=(2, 100)) for scale in (1e-3, 5.0, 0.1)]
    whole = Density(center=0.0)
    whole.add(*np.concatenate(parts, axis=1))
    joint = Density(center=0.0)
    for part in parts:
        density = Density(center=0.0)
        density.add(*part)
        joint.join(density)
    assert joint.range == whole.range
    np.testing.assert_array_equal(joint.counts, whole.counts)


def test_a_coarser_density_is_the_histogram_with_wider_bins():
    values = np.random.default_rng(0).normal(scale=0.3, size=(2, 500))
    density = Density(center=0.0)
    density.add(*values)
    edges, counts = density.shown()
    for factor in (2, 8, 32):
        wider, joined = coarsened(edges, counts, factor * (edges[1] - edges[0]))
        expected, *_ = np.histogram2d(*values, bins=(wider, wider))
        np.testing.assert_array_equal(joined, expected)
    same = coarsened(edges, counts, edges[1] - edges[0])
    np.testing.assert_allclose(same[0], edges, atol=1e-12)
    np.testing.assert_array_equal(same[1], counts)


def test_saved_densities_are_read_again(tmp_path):
    density = Density(center=0.0)
    density.add(np.array([0.1, -0.2]), np.array([0.1, -0.3]))
    (tmp_path / "parity.npz").write_bytes(save_densities(forces=density))
    edges, counts = load_densities(tmp_path / "parity.npz")["forces"]
    np.testing.assert_array_equal(edges, density.shown()[0])
    assert counts.sum() == 2
