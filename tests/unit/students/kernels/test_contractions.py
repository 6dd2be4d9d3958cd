"""Every kernel against the plain operations that it stands for: values and derivatives of any order and kind."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from ase import Atoms
from torch import Tensor

from jointkd.students.basis import RadialBasis
from jointkd.students.graph import Graph, aggregate
from jointkd.students.kernels import bands, blocks, grouped_triplets, onednn, pair_list
from jointkd.students.kernels.activation import scaled_silu
from jointkd.students.kernels.bands import Bands
from jointkd.students.kernels.blocks import Blocks
from jointkd.students.kernels.grouped_triplets import GroupedTriplets
from jointkd.students.kernels.pair_list import PairList
from jointkd.students.triplets import PaddedTriplets
from tests.structures import ETHANOL, SPECIAL, WATER, batch_of

CRYSTALS = batch_of(SPECIAL["wire"], SPECIAL["HCN"], cutoff=2.4)  # an atom is a neighbour of its own image
MOLECULES = batch_of(WATER, ETHANOL, Atoms("H"))
ATOMS, PAIRS = len(CRYSTALS.positions), len(CRYSTALS.edge_reverse) // 2


class Case(NamedTuple):
    """A kernel and the plain function of the same operands."""

    kernel: Callable[..., Tensor]
    plain: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def pair_lists(*shapes: tuple[int, ...]) -> Case:
    graph = Graph.of(CRYSTALS)
    return Case(PairList(graph).aggregate, graph.aggregate, shapes)


def in_blocks(axes: int, directed: bool) -> Case:
    """The plain function goes through the entries of all blocks one by one."""
    found = Blocks.of(Graph.of(MOLECULES), MOLECULES)
    assert found is not None
    entries = [
        (entry, sign)
        for block in found.blocks
        for sign in block.directions
        for entry in range(block.entries.start, block.entries.stop)
    ]
    pair, sign = torch.tensor(entries).T
    source = torch.where(sign == 1, found.column[pair], found.row[pair])
    target = torch.where(sign == 1, found.row[pair], found.column[pair])
    atoms, count = len(MOLECULES.positions), len(found.row)

    def plain(filters: Tensor, features: Tensor, directions: Tensor | None = None) -> Tensor:
        along = None if directions is None else directions[:, pair] * sign
        return aggregate(filters[pair], features, along, source, target, atoms)

    return Case(found.aggregate, plain, ((count, 3), (axes, atoms, 3), *([(3, count)] if directed else [])))


def filters_by_bands(smooth: bool) -> Case:
    basis = RadialBasis(6, smooth).double()

    def distances(x: Tensor) -> Tensor:  # some beyond the cutoff
        return 0.6 + 0.5 * torch.sin(x)

    return Case(
        lambda x, weights: Bands(basis, distances(x))(weights),
        lambda x, weights: basis(distances(x)) @ weights.T,
        ((17,), (3, 7)),
    )


def triplets() -> Case:
    padded = PaddedTriplets.of(Graph.of(CRYSTALS), ATOMS)
    grouped = GroupedTriplets.of(padded, 3, 2)
    return Case(
        lambda harmonics, x: grouped.triplet_sum(harmonics)(x),
        lambda harmonics, x: padded.triplet_sum(harmonics)(x),
        ((2 * PAIRS, 9), (2 * PAIRS, 2)),
    )


CASES = {
    "activation": lambda: Case(scaled_silu, lambda x: x * torch.sigmoid(x) / 0.6, ((3, 4),)),
    "linear map": lambda: Case(onednn.linear, torch.nn.functional.linear, ((2, 5, 3), (4, 3), (4,))),
    "pair list, scalars": lambda: pair_lists((PAIRS, 3), (1, ATOMS, 3)),
    "pair list, vectors": lambda: pair_lists((PAIRS, 3), (3, ATOMS, 3)),
    "pair list, directions": lambda: pair_lists((PAIRS, 3), (1, ATOMS, 3), (3, PAIRS)),
    "blocks, scalars": lambda: in_blocks(1, False),
    "blocks, vectors": lambda: in_blocks(3, False),
    "blocks, directions": lambda: in_blocks(1, True),
    "bands": lambda: filters_by_bands(True),
    "bands of the reference": lambda: filters_by_bands(False),
    "triplets": triplets,
}


@pytest.fixture(params=[(3, 8, 7, 5, 1), (24, 2400, 1024, 1024, 128)], ids=["small parts", "usual parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes of the parts in which sums are made."""
    places = ((blocks, "LEAF"), (blocks, "ENTRIES"), (pair_list, "PART"), (bands, "TILE"), (grouped_triplets, "GROUP"))
    for (module, name), size in zip(places, request.param, strict=True):
        monkeypatch.setattr(module, name, size)


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request: pytest.FixtureRequest, parts: None) -> Case:
    return request.param()


def operands_of(case: Case, seed: int = 0) -> tuple[Tensor, ...]:
    return tuple(random(*shape, seed=seed + 10 * number) for number, shape in enumerate(case.shapes))


def agree(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_values_and_derivatives_up_to_the_third_are_those_of_the_plain_form(case):
    def derivatives(function: Callable[..., Tensor]) -> list[Tensor]:
        operands = [operand.requires_grad_() for operand in operands_of(case)]
        value = function(*operands)
        collected, total = [value], value.pow(3).sum()
        for seed in (1, 2, 3):
            slopes = torch.autograd.grad(total, operands, create_graph=True)
            collected += slopes
            moves = operands_of(case, seed)
            total = sum((slope * move).sum() for slope, move in zip(slopes, moves, strict=True))
        return collected

    agree(derivatives(case.kernel), derivatives(case.plain))


def test_directional_derivatives_of_values_and_gradients_are_those_of_the_plain_form(case):
    operands, moves = operands_of(case), operands_of(case, seed=1)

    def gradients(function: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        every = tuple(range(len(operands)))
        return torch.func.grad(lambda *values: function(*values).pow(3).sum(), argnums=every)

    for form in (lambda function: function, gradients):
        found, expected = (torch.func.jvp(form(f), operands, moves)[1] for f in (case.kernel, case.plain))
        agree(found, expected)


def test_functions_and_their_pullbacks_may_be_vectorised(case):
    operands = operands_of(case)
    for number, operand in enumerate(operands):
        many = torch.stack([operand, -2 * operand, operand**2], dim=-1)
        dims = tuple(operand.ndim if place == number else None for place in range(len(operands)))
        given = (*operands[:number], many, *operands[number + 1 :])
        agree(torch.vmap(case.kernel, dims)(*given), torch.vmap(case.plain, dims)(*given))
    pulled = []
    for function in (case.kernel, case.plain):
        value, pullback = torch.func.vjp(function, *operands)
        pulled.append(torch.vmap(pullback)(random(2, *value.shape, seed=5)))
    agree(*pulled)


def test_operands_are_never_changed(case):
    operands, before = operands_of(case), operands_of(case)
    _, pullback = torch.func.vjp(lambda *values: torch.func.vjp(case.kernel, *values)[0].pow(2), *operands)
    pullback(torch.ones_like(case.kernel(*operands)))
    assert all(torch.equal(now, then) for now, then in zip(operands, before, strict=True))
