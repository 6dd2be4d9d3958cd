"""Hessian rows of a batch by backward passes."""

import numpy as np
import pytest
import torch

from jointkd.teachers.base import hessian_rows
from tests.teachers import along

SIZES = [3, 1, 5]
FIRST = torch.tensor([0, 3, 4, 9])


def energy(positions: torch.Tensor) -> torch.Tensor:
    """A potential without symmetries: bonds between all atoms of a structure, and a field around the origin."""
    pairs = torch.triu_indices(len(positions), len(positions), 1)
    distances = (positions[pairs[0]] - positions[pairs[1]]).norm(dim=1)
    return (distances - 1.3).pow(4).sum() + (positions.pow(3) * torch.tensor([1.0, 2.0, 3.0])).sum()


def structures() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in SIZES]


def rows_of_batch(row_ids: list[np.ndarray], passes: list[int] | None = None) -> list[np.ndarray]:
    positions = torch.cat(structures()).requires_grad_()
    total = sum(energy(part) for part in positions.split(SIZES))
    (gradient,) = torch.autograd.grad(total, positions, create_graph=True)
    forces = -gradient
    if passes is not None:
        forces.register_hook(lambda _: passes.append(1))
    return hessian_rows(forces, positions, FIRST, row_ids)


def full_hessians() -> list[np.ndarray]:
    hessians = [torch.autograd.functional.hessian(energy, part) for part in structures()]
    return [hessian.reshape(3 * n, n, 3).numpy() for hessian, n in zip(hessians, SIZES, strict=True)]


def test_rows_of_a_batch_are_the_rows_of_the_full_hessians_with_their_sign():
    row_ids = [np.arange(3 * n) for n in SIZES]
    for rows, full in zip(rows_of_batch(row_ids), full_hessians(), strict=True):
        np.testing.assert_allclose(rows, full, rtol=1e-12, atol=1e-12)


def test_structures_may_have_different_numbers_of_rows_in_any_order():
    row_ids = [np.array([7, 0]), np.array([2]), np.array([14, 3, 8, 1])]
    for rows, full, ids in zip(rows_of_batch(row_ids), full_hessians(), row_ids, strict=True):
        np.testing.assert_allclose(rows, full[ids], rtol=1e-12, atol=1e-12)


def test_a_structure_may_have_no_rows():
    none = np.array([], dtype=int)
    rows = rows_of_batch([none, np.array([1]), none])
    assert [part.shape for part in rows] == [(0, 3, 3), (1, 1, 3), (0, 5, 3)]
    assert [part.shape for part in rows_of_batch([none] * 3)] == [(0, 3, 3), (0, 1, 3), (0, 5, 3)]


@pytest.mark.parametrize("counts", [(4, 3, 2), (1, 1, 1), (0, 0, 6)])
def test_one_backward_pass_gives_one_row_of_every_structure(counts):
    passes: list[int] = []
    rows_of_batch([np.arange(count) % 3 for count in counts], passes)
    assert len(passes) == max(counts)


def test_products_with_probes_are_those_of_the_full_hessian_also_beside_rows():
    rng = np.random.default_rng(1)
    directions = [rng.normal(size=(2, 3, 3)), np.array([2]), rng.normal(size=(4, 5, 3)).astype(np.float32)]
    for products, full, each in zip(rows_of_batch(directions), full_hessians(), directions, strict=True):
        np.testing.assert_allclose(products, along(full, each), rtol=1e-12, atol=1e-12)
