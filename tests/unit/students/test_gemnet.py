"""GemNet-dT and GemNet-T against the reference implementation's own numbers, imported as users import them."""

import math

import pytest
import torch
from ase import Atoms
from scipy.special import eval_legendre

from jointkd.structures.batch import collate
from jointkd.students.basis import spherical_harmonics
from jointkd.students.gemnet import GemNet
from jointkd.students.kernels import triplets
from jointkd.students.kernels.edges import Graph
from jointkd.students.kernels.triplets import Edges
from tests.fairchem import (
    CASES,
    agree_with_reference,
    central_differences,
    full,
    imported,
    predicted,
    reference,
    relative,
)
from tests.structures import ETHANOL, SALT, WATER, batch_of, structure

IDEAL = "srtio3_ideal_rc6_full"


def size_of(**arguments) -> int:
    return sum(parameter.numel() for parameter in GemNet(**arguments).parameters())


def test_the_papers_sizes_are_reproduced():
    assert size_of(conservative=False) == 672_896
    assert size_of(conservative=True) == 565_056


@pytest.mark.parametrize(
    ("width", "direct", "conservative"),
    [(32, 153_664, 126_624), (96, 1_656_000, 1_413_600), (128, 3_201_280, 2_770_560)],
)
def test_one_option_scales_the_student(width, direct, conservative):
    assert size_of(width=width) == direct
    assert size_of(width=width, conservative=True) == conservative


@pytest.fixture(scope="module", params=["gemnet_dt", "gemnet_t"])
def given(request):
    return reference(request.param)


@pytest.mark.parametrize("case", CASES)
def test_reference_weights_give_the_reference_outputs(given, case, tmp_path):
    expected = given["cases"][case]
    student = imported(given, expected, tmp_path)
    assert student.conservative == (given["model"] == "gemnet_t")
    agree_with_reference(student, expected)


def test_the_reference_hessian_is_given_row_by_row(given, tmp_path):
    expected = given["cases"]["ethanol"]
    matrix = full(predicted(imported(given, expected, tmp_path), expected, every=True))
    assert relative(matrix, expected["hessian_full"]) < 1e-9


def test_the_hessian_of_an_ideal_crystal_is_that_of_finite_differences(given, tmp_path):
    expected = given["cases"][IDEAL]
    student = imported(given, expected, tmp_path)
    prediction = predicted(student, expected, every=True)
    matrix = full(prediction)
    assert relative(prediction.atomic_energies, expected["atom_energies"]) < 1e-9
    assert relative(matrix, central_differences(student, expected)) < 1e-6
    if student.conservative:  # the reference clamps cosines, whose derivatives then vanish where atoms are in line
        assert relative(expected["hessian_full"], matrix) > 0.1
    else:
        assert relative(expected["hessian_full"], matrix) < 1e-9


@pytest.mark.parametrize("group", [1, 4, 64])
@pytest.mark.parametrize("atoms", [ETHANOL, SALT], ids=["molecule", "crystal"])
def test_edges_hear_what_a_list_of_triplets_says(monkeypatch, atoms, group):
    monkeypatch.setitem(triplets.GROUP, "cpu", group)
    batch = batch_of(atoms)
    graph = Graph.of(batch, len(atoms))
    count = len(graph.source)
    vectors = batch.positions[graph.source] - batch.positions[graph.target] + batch.edge_shift
    direction = vectors / vectors.norm(dim=1, keepdim=True)
    circular = torch.zeros(count, 1, 7).double()
    edges = Edges.of(graph, batch.edge_reverse, spherical_harmonics(direction, 7), circular, width=3)
    x = torch.randn(count, 3, dtype=torch.float64)
    expected = torch.zeros(count, 7, 3, dtype=torch.float64)
    for edge in range(count):
        for other in range(count):
            if other != edge and graph.target[other] == graph.target[edge]:
                cosine = float(direction[edge] @ direction[other])
                for degree in range(7):
                    polynomial = math.sqrt((2 * degree + 1) / (4 * math.pi)) * eval_legendre(degree, cosine)
                    expected[edge, degree] += polynomial * x[other]
    torch.testing.assert_close(edges.hear(x), expected, rtol=1e-12, atol=1e-12)


def test_an_edge_alone_hears_nothing_also_in_mixed_precision():
    batch = collate([structure(Atoms("OH", [[0, 0, 0], [0.4, 0.5, 0.6]]))])
    graph = Graph.of(batch, 2)
    vectors = graph.edge_vectors(batch.positions)
    harmonics = spherical_harmonics(vectors / vectors.norm(dim=1, keepdim=True), 7)
    circular = torch.zeros(2, 1, 7, dtype=torch.bfloat16)  # as a dense layer gives it
    edges = Edges.of(graph, batch.edge_reverse, harmonics, circular, width=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heard = edges.hear(torch.ones(2, 3, dtype=torch.bfloat16))
    assert heard.abs().max() < 1e-5


@pytest.mark.parametrize("group", [2, 64])
def test_what_edges_hear_has_right_derivatives_of_first_to_third_order(monkeypatch, group):
    monkeypatch.setitem(triplets.GROUP, "cpu", group)
    batch = batch_of(WATER, WATER)
    graph = Graph.of(batch, len(batch.positions))
    count = len(graph.source)
    circular = torch.zeros(count, 1, 3).double()
    generator = torch.Generator().manual_seed(0)
    harmonics = torch.randn(count, 9, generator=generator, dtype=torch.float64).requires_grad_()
    x = torch.randn(count, 2, generator=generator, dtype=torch.float64).requires_grad_()

    def heard(harmonics: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return Edges.of(graph, batch.edge_reverse, harmonics, circular, width=2).hear(x)

    def slopes(harmonics: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(heard(harmonics, x).pow(2).sum(), harmonics, create_graph=True)[0]

    assert torch.autograd.gradcheck(heard, (harmonics, x), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(heard, (harmonics, x), check_fwd_over_rev=True)
    assert torch.autograd.gradgradcheck(slopes, (harmonics, x), atol=1e-4)
