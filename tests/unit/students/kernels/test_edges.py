"""Products summed over edges against the same sums written naively."""

import pytest
import torch
from torch import Tensor

from jointkd.students.kernels import edges
from jointkd.students.kernels.edges import Graph, product
from tests.structures import SPECIAL, batch_of

BATCH = batch_of(SPECIAL["wire"], SPECIAL["HCN"], cutoff=2.4)  # an atom is a neighbour of its own image
ATOMS = len(BATCH.positions) + 1  # one that has no edges
GRAPH = Graph.of(BATCH, ATOMS)
USES = {  # to which place; the (A, F) of the operand at each place
    "filter and features": ("target", {"pair": (1, 3), "source": (1, 3)}),
    "and a direction": ("target", {"pair": (1, 3), "source": (1, 3), "edge": (2, 1)}),
    "and an arrow": ("target", {"pair": (1, 3), "source": (1, 3), "arrow": (2, 1)}),
    "to arrows": ("arrow", {"pair": (1, 3), "source": (1, 3), "target": (2, 3)}),
    "filter and vectors": ("target", {"pair": (1, 3), "source": (2, 3)}),
    "filter and messages": ("target", {"pair": (1, 3), "edge": (1, 3)}),
    "messages alone": ("target", {"edge": (1, 3)}),
    "to pairs": ("pair", {"source": (2, 3), "target": (2, 3), "edge": (1, 1)}),
    "to sources": ("source", {"pair": (1, 3), "target": (2, 3)}),
    "to edges": ("edge", {"pair": (1, 3), "source": (1, 3), "target": (2, 1)}),
}
LARGE, SMALL = 0, 2**18
EVERY_USE = pytest.mark.parametrize(("to", "shapes"), USES.values(), ids=USES.keys())


@pytest.fixture(params=[LARGE, SMALL], ids=["large", "small"], autouse=True)
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways that a product may go, by its size."""
    monkeypatch.setattr(edges, "SMALL", request.param)


def operands_of(shapes: dict[str, tuple[int, int]], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        place: torch.randn(a, GRAPH.sizes[place], f, generator=generator, dtype=torch.float64)
        for place, (a, f) in shapes.items()
    }


def pair_of_each_edge() -> list[int]:
    """Pairs in the order of their first edges."""
    reverse, numbers = BATCH.edge_reverse.tolist(), {}
    for edge, back in enumerate(reverse):
        numbers.setdefault(min(edge, back), len(numbers))
    return [numbers[min(edge, back)] for edge, back in enumerate(reverse)]


def naive(to: str, operands: dict[str, Tensor]) -> Tensor:
    source, target = BATCH.edge_index
    where = {"edge": torch.arange(len(source)), "pair": torch.tensor(pair_of_each_edge())}
    where |= {"source": source, "target": target, "arrow": where["pair"]}
    value = torch.ones(1, len(source), 1, dtype=torch.float64)
    for place, operand in operands.items():
        value = torch.einsum("aef,aef->aef", *torch.broadcast_tensors(value, operand[:, where[place]]))
    if "arrow" in (to, *operands):
        backward = torch.arange(len(source)) > BATCH.edge_reverse
        value = torch.where(backward[:, None], -value, value)
    return value.new_zeros(len(value), GRAPH.sizes[to], value.shape[2]).index_add(1, where[to], value)


def test_a_graph_has_every_edge_at_its_pair_source_and_target():
    assert torch.equal(torch.stack([GRAPH.source, GRAPH.target]), BATCH.edge_index)
    assert GRAPH.pair.tolist() == pair_of_each_edge()
    assert torch.equal(GRAPH.pair[GRAPH.first], torch.arange(GRAPH.sizes["pair"]))
    edges = GRAPH.target.numel()
    assert GRAPH.sizes == {"edge": edges, "pair": edges // 2, "arrow": edges // 2, "source": 6, "target": 6}


def test_vectors_of_pairs_are_those_of_their_first_edges():
    vectors = GRAPH.edge_vectors(BATCH.positions)
    lengths = torch.linalg.norm(vectors, dim=1)
    assert torch.all(lengths < 2.4)
    torch.testing.assert_close(vectors[BATCH.edge_reverse], -vectors)
    torch.testing.assert_close(GRAPH.pair_vectors(BATCH.positions, BATCH.positions), vectors[GRAPH.first])
    assert GRAPH.present.all()


@pytest.mark.parametrize("tile", [1, 3, 1024])
@EVERY_USE
def test_a_product_is_the_naive_sum_in_tiles_of_any_size(monkeypatch, to, shapes, tile):
    monkeypatch.setitem(edges.TILE, "cpu", tile)
    operands = operands_of(shapes)
    torch.testing.assert_close(product(GRAPH, to, **operands), naive(to, operands))


@pytest.mark.parametrize("tile", [3, 1024])
@EVERY_USE
def test_first_and_second_derivatives_are_right(monkeypatch, to, shapes, tile):
    monkeypatch.setitem(edges.TILE, "cpu", tile)
    inputs = tuple(operand.requires_grad_() for operand in operands_of(shapes).values())

    def function(*values: Tensor) -> Tensor:
        return product(GRAPH, to, **dict(zip(shapes, values, strict=True)))

    assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True, fast_mode=True)


@EVERY_USE
def test_third_derivatives_are_those_of_the_naive_sum(to, shapes):
    def third(function) -> list[Tensor]:
        inputs = [operand.requires_grad_() for operand in operands_of(shapes).values()]
        value = function(dict(zip(shapes, inputs, strict=True))).pow(3).sum()
        for seed in (1, 2, 3):
            slopes = torch.autograd.grad(value, inputs, create_graph=True)
            moves = operands_of(shapes, seed).values()
            value = sum((slope * move).sum() for slope, move in zip(slopes, moves, strict=True))
        return list(torch.autograd.grad(value, inputs)) if value.requires_grad else [value]

    found = third(lambda operands: product(GRAPH, to, **operands))
    torch.testing.assert_close(found, third(lambda operands: naive(to, operands)))


@EVERY_USE
def test_directional_derivatives_are_those_of_the_naive_sum(to, shapes):
    operands, moves = operands_of(shapes), operands_of(shapes, seed=1)
    found = torch.func.jvp(lambda operands: product(GRAPH, to, **operands), (operands,), (moves,))[1]
    torch.testing.assert_close(found, torch.func.jvp(lambda x: naive(to, x), (operands,), (moves,))[1])


@EVERY_USE
def test_products_may_be_vectorised_over_some_operands(to, shapes):
    operands = operands_of(shapes)
    first = next(iter(shapes))
    many = torch.stack([operands[first], -2 * operands[first], operands[first] ** 2], dim=1)

    def function(value: Tensor) -> Tensor:
        return product(GRAPH, to, **{**operands, first: value})

    expected = torch.stack([function(value) for value in many.unbind(1)])
    torch.testing.assert_close(torch.func.vmap(function, in_dims=1)(many), expected)


@EVERY_USE
def test_without_edges_sums_are_zero_and_have_zero_derivatives(to, shapes):
    graph = Graph.of(batch_of(SPECIAL["two atoms without edges"]), 2)
    operands = {place: torch.ones(a, graph.sizes[place], f, requires_grad=True) for place, (a, f) in shapes.items()}
    result = product(graph, to, **operands)
    assert result.shape[1] == graph.sizes[to]
    assert not result.any()
    slopes = torch.autograd.grad(result.sum(), list(operands.values()), create_graph=True)
    assert not any(slope.any() for slope in slopes)
