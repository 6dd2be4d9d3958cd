"""Sums over blocks of pairs against the same sums over a list of edges."""

from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import molecule
from torch import Tensor

from jointkd.students.derivatives import predict
from jointkd.students.kernels import blocks, edges
from jointkd.students.kernels.blocks import Blocks
from jointkd.students.kernels.edges import Graph, pairs_of, product
from jointkd.students.painn import PaiNN
from tests.structures import CUTOFF, ETHANOL, SALT, WATER, batch_of, rattled

BENZENE = rattled(molecule("C6H6"), 5)
STRETCHED = Atoms("OCCS", [[-3.3, 0, 0], [-1.5, 0, 0.2], [0.1, 0.3, 0], [2.0, 0, 0]])  # its ends are no neighbours
LARGE_CELL = Atoms(ETHANOL.numbers, ETHANOL.positions, cell=[9.0] * 3, pbc=True)
LARGE_CELL.positions += 8.5  # bonds cross the boundary
LARGE_CELL.wrap()
MANY = (ETHANOL, WATER, STRETCHED, BENZENE, LARGE_CELL, Atoms("H"))
USES = {
    "filter and features": ("target", {"pair": (1, 3), "source": (1, 3)}),
    "filter and vectors": ("target", {"pair": (1, 3), "source": (2, 3)}),
    "and an arrow": ("target", {"pair": (1, 3), "source": (1, 3), "arrow": (2, 1)}),
}
EVERY_USE = pytest.mark.parametrize(("to", "shapes"), USES.values(), ids=USES.keys())


@pytest.fixture(autouse=True, params=[(2, 6), (5, 12), (24, 2400)], ids=["tiny", "small", "usual"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of several sizes, for small molecules too."""
    leaf, entries = request.param
    monkeypatch.setattr(blocks, "LEAF", leaf)
    monkeypatch.setattr(blocks, "ENTRIES", entries)
    monkeypatch.setattr(edges, "SMALL", 0)


def both(*many: Atoms, more: int = 1) -> tuple[Any, Blocks, Graph]:
    batch = batch_of(*many)
    atoms = len(batch.positions) + more
    found = pairs_of(batch, atoms, 3)
    assert isinstance(found, Blocks)
    return batch, found, Graph.of(batch, atoms)


def entries_of(graph: Graph, found: Blocks, values: Tensor, sign: bool) -> Tensor:
    """[A, pairs of the list, F] as [A, entries of the blocks, F], and zero where no neighbours are."""
    order = graph.orders["target"]
    place = {(int(t), int(s)): edge for edge, (t, s) in enumerate(zip(order.target, order.source, strict=True))}
    result = values.new_zeros(values.shape[0], found.sizes["pair"], values.shape[2])
    for entry, (t, s) in enumerate(zip(found.target.tolist(), found.source.tolist(), strict=True)):
        if (t, s) in place:
            edge = place[t, s]
            result[:, entry] = values[:, order.pair[edge]] * (order.sign[edge] if sign else 1)
    return result


def test_every_pair_of_neighbours_has_its_place_and_its_vector():
    batch, found, graph = both(*MANY)
    vectors = graph.edge_vectors(batch.positions).T[:, :, None]
    pairs = entries_of(graph, found, vectors[:, graph.first], sign=True)[:, :, 0].T
    own = found.pair_vectors(batch.positions, batch.positions)
    torch.testing.assert_close(own[found.present], pairs[found.present])
    assert torch.all(torch.linalg.norm(own[~found.present], dim=1) > CUTOFF)
    both_ways = sum(len(b.directions) * int(found.present[b.entries].sum()) for b in found.blocks)
    assert both_ways == batch.edge_index.shape[1]


@EVERY_USE
def test_products_and_their_derivatives_are_those_of_the_list_of_edges(to, shapes):
    _, found, graph = both(*MANY)
    generator = torch.Generator().manual_seed(0)

    def random(place: str, a: int, f: int) -> Tensor:
        return torch.randn(a, graph.sizes[place], f, generator=generator, dtype=torch.float64)

    operands = tuple(random(place, *shape).requires_grad_() for place, shape in shapes.items())
    moves = tuple(random(place, *shape) for place, shape in shapes.items())

    def of_list(*values: Tensor) -> Tensor:
        return product(graph, to, **dict(zip(shapes, values, strict=True)))

    def of_blocks(*values: Tensor) -> Tensor:
        placed = {
            place: entries_of(graph, found, value, place == "arrow") if place in ("pair", "arrow") else value
            for place, value in zip(shapes, values, strict=True)
        }
        return product(found, to, **placed)

    def derivatives(function: Any) -> list[Tensor]:
        value = function(*operands)
        collected, total = [value], value.pow(3).sum()
        for _ in range(3):
            slopes = torch.autograd.grad(total, operands, create_graph=True)
            collected += slopes
            total = sum((slope * move).sum() for slope, move in zip(slopes, moves, strict=True))
        return collected

    for ours, theirs in zip(derivatives(of_blocks), derivatives(of_list), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "options", [{}, {"smooth": False}, {"conservative": True}], ids=["", "reference", "conservative"]
)
def test_a_student_and_its_gradients_do_not_depend_on_the_blocks(monkeypatch, options):
    torch.manual_seed(0)
    student = PaiNN(width=8, layers=2, radial=6, cutoff=CUTOFF, **options).double()
    batch = batch_of(*MANY)
    rows = torch.zeros(len(MANY), 2, dtype=torch.long) + torch.tensor([0, 2])

    def everything() -> list[Tensor]:
        prediction = predict(student, batch, rows)
        loss = sum(value.pow(2).sum() for value in prediction[:3])
        return [*prediction[:3], *torch.autograd.grad(loss, [*student.parameters()], allow_unused=True)]

    found = everything()
    monkeypatch.setattr("jointkd.students.painn.pairs_of", lambda structure, atoms, width: Graph.of(structure, atoms))
    for ours, theirs in zip(found, everything(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "atoms",
    [(SALT,), (Atoms("HO", [[0, 0, 0], [0, 0, 30.0]]),), (ETHANOL, Atoms("C40", torch.randn(40, 3).numpy() * 50))],
    ids=["a crystal", "no neighbours", "few neighbours"],
)
def test_what_is_not_dense_or_has_images_stays_a_list_of_edges(atoms):
    assert isinstance(pairs_of(batch_of(*atoms), 100, 3), Graph)


def test_a_small_batch_stays_a_list_of_edges(monkeypatch):
    monkeypatch.setattr(edges, "SMALL", 2**18)
    assert isinstance(pairs_of(batch_of(*MANY), 100, 3), Graph)
