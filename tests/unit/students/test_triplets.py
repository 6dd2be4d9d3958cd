"""Triplet sums by the addition theorem against a list of triplets, with and without kernels."""

import math
from contextlib import nullcontext

import pytest
import torch
from ase import Atoms
from scipy.special import eval_legendre

from jointkd.structures.batch import collate
from jointkd.students import kernels, operations
from jointkd.students.basis import SphericalHarmonics
from jointkd.students.kernels import grouped_triplets
from jointkd.students.operations import triplet_graph
from tests.structures import ETHANOL, SALT, batch_of, structure


@pytest.fixture(autouse=True)
def _no_size_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "SMALL_TRIPLETS", -1)


FORMS = pytest.mark.parametrize("form", [nullcontext, kernels.disabled], ids=["kernels", "plain"])


def directions_of(graph, batch) -> torch.Tensor:
    vectors = graph.vectors(batch.positions, batch.edge_shift)
    directions = vectors / vectors.norm(dim=1, keepdim=True)
    return torch.cat([directions, -directions])


@FORMS
@pytest.mark.parametrize("group", [1, 4, 64])
@pytest.mark.parametrize("atoms", [ETHANOL, SALT], ids=["molecule", "crystal"])
def test_triplet_sums_are_those_of_a_list_of_triplets(monkeypatch, form, atoms, group):
    monkeypatch.setattr(grouped_triplets, "GROUP", group)
    batch = batch_of(atoms)
    with form():
        graph = triplet_graph(batch, degrees=7, width=3)
    direction, target = directions_of(graph, batch), graph.graph.target
    count = len(target)
    x = torch.randn(count, 3, dtype=torch.float64)
    expected = torch.zeros(count, 7, 3, dtype=torch.float64)
    for edge in range(count):
        for other in range(count):
            if other != edge and target[other] == target[edge]:
                cosine = float(direction[edge] @ direction[other])
                for degree in range(7):
                    polynomial = math.sqrt((2 * degree + 1) / (4 * math.pi)) * eval_legendre(degree, cosine)
                    expected[edge, degree] += polynomial * x[other]
    found = graph.triplet_sum(SphericalHarmonics(7)(direction))(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@FORMS
def test_the_sum_of_an_edge_alone_is_zero_also_in_mixed_precision(form):
    batch = collate([structure(Atoms("OH", [[0, 0, 0], [0.4, 0.5, 0.6]]))])
    with form():
        graph = triplet_graph(batch, degrees=7, width=3)
    harmonics = SphericalHarmonics(7)(directions_of(graph, batch))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums = graph.triplet_sum(harmonics)(torch.ones(2, 3, dtype=torch.bfloat16))
    assert sums.abs().max() < 1e-5


@FORMS
def test_atoms_without_edges_take_part_in_no_sum(form):
    with form():
        graph = triplet_graph(batch_of(Atoms("HO", [[0, 0, 0], [0, 0, 30.0]])), degrees=3, width=2)
    empty = torch.zeros(0, 9, dtype=torch.float64)
    assert graph.triplet_sum(empty)(empty[:, :2]).shape == (0, 3, 2)
