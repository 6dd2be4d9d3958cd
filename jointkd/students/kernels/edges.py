"""Sums over edges of products, without a stored product: what message passing is made of.

Every operand sits on the graph's edges, or on what an edge belongs to: its pair (both directions of it), its arrow
(what changes sign with the direction of a pair), its source or its target. A product's derivative by one operand is
again such a product, summed onto that operand's place; so one function, made in tiles that fit the processor's cache,
serves every order of derivative and keeps only operands.
"""

from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointkd.students.kernels.blocks import Blocks

TILE = {"cpu": 1024}  # edges at a time; elsewhere all of them
SMALL = 2**20  # numbers in a product that may be stored


class Order(NamedTuple):
    """The edges in an order that keeps all edges of an entry of one place together."""

    edge: Tensor  # [E]
    pair: Tensor  # [E] and where each edge's pair, source and target are
    source: Tensor
    target: Tensor
    sign: Tensor  # [E] 1 for the first edge of a pair, -1 for its reverse


class Graph(NamedTuple):
    """The edges of a batch in the order in which each kind of sum takes them. E edges, P = E / 2 pairs."""

    orders: dict[str, Order]  # `pair`: one edge of each pair, then their reverses
    sizes: dict[str, int]  # entries of each place
    shift: Tensor  # [E, 3] Å

    @classmethod
    def of(cls, structure: Any, atoms: int) -> "Graph":
        """structure: a batch, whose edges are sorted by target; atoms: how many entries source and target have."""
        source, target = structure.edge_index
        reverse = structure.edge_reverse
        edge = torch.arange(len(reverse), device=reverse.device)
        number = (edge < reverse).cumsum(0) - 1
        pair = torch.where(edge < reverse, number, number[reverse])
        first = (edge < reverse).nonzero()[:, 0]
        sign = torch.where(edge < reverse, 1, -1).to(torch.int8)
        by_target = Order(edge, pair, source, target, sign)
        by_source = Order(*(index[reverse] for index in by_target))
        halves = torch.cat([first, reverse[first]])
        by_pair = Order(*(index[halves] for index in by_target))
        return cls(
            {"edge": by_target, "pair": by_pair, "arrow": by_pair, "source": by_source, "target": by_target},
            {"edge": len(edge), "pair": len(first), "arrow": len(first), "source": atoms, "target": atoms},
            structure.edge_shift,
        )

    @classmethod
    def into(cls, structure: Any, targets: Tensor, atoms: int) -> "Graph":
        """The edges that end in some atoms [M], each edge a pair of its own; atoms: how many entries source has."""
        sources, ends = structure.edge_index
        target, kept = ending_in(targets, ends)
        edge = torch.arange(len(kept), device=kept.device)
        by_target = Order(edge, edge, sources[kept], target, torch.ones_like(edge, dtype=torch.int8))
        by_source = Order(*(index[by_target.source.argsort()] for index in by_target))
        return cls(
            {"edge": by_target, "pair": by_target, "arrow": by_target, "source": by_source, "target": by_target},
            {"edge": len(edge), "pair": len(edge), "arrow": len(edge), "source": atoms, "target": len(targets)},
            structure.edge_shift[kept],
        )

    @property
    def source(self) -> Tensor:
        """[E]"""
        return self.orders["target"].source

    @property
    def target(self) -> Tensor:
        """[E], ascending"""
        return self.orders["target"].target

    @property
    def pair(self) -> Tensor:
        """[E]"""
        return self.orders["target"].pair

    @property
    def first(self) -> Tensor:
        """[P] one edge of every pair."""
        return self.orders["pair"].edge[: self.sizes["pair"]]

    @property
    def present(self) -> Tensor:
        """[P] whether a pair is one of neighbours: all are."""
        return torch.ones(self.sizes["pair"], dtype=torch.bool, device=self.shift.device)

    def edge_vectors(self, positions: Tensor) -> Tensor:
        """[E, 3] Å from the target of every edge to its source."""
        return positions.index_select(0, self.source) - positions.index_select(0, self.target) + self.shift

    def pair_vectors(self, sources: Tensor, targets: Tensor) -> Tensor:
        """[P, 3] Å, those of the first edges, whose ends are at sources and targets [..., 3]."""
        first, order = self.first, self.orders["target"]
        ends = sources.index_select(0, order.source[first]) - targets.index_select(0, order.target[first])
        return ends + self.shift[first]

    def sums(self, places: tuple[str, ...], to: str, shape: tuple[int, int], operands: tuple[Tensor, ...]) -> Tensor:
        """See `Product`."""
        order, entries = self.orders[to], self.sizes[to]
        result = operands[0].new_zeros(shape[0], entries, shape[1])
        edges = len(order.edge)
        half = entries if to in ("pair", "arrow") else edges
        tile = TILE.get(result.device.type, max(edges, 1))
        for start in (*range(0, half, tile), *range(half, edges, tile)):
            stop = min(start + tile, half if start < half else edges)
            factors = [at(order, place, x, start, stop) for place, x in zip(places, operands, strict=True)]
            if to in ("source", "target"):
                add_by_entry(result, factors, getattr(order, to)[start:stop])
                continue
            sign = -1 if to == "arrow" and start >= half else 1
            for of_result, value in zip(result, multiply(factors, shape), strict=True):
                of_result[start % entries : start % entries + stop - start] += sign * value
        return result


def ending_in(atoms: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Which of some atoms [M] an edge ends in, ascending, and which of all edges it is; target [E]."""
    which, edge = (atoms[:, None] == target).nonzero(as_tuple=True)
    return which, edge


Pairs = Graph | Blocks


def pairs_of(structure: Any, atoms: int, width: int) -> Pairs:
    """The pairs of a batch, for products that are `width` wide: in blocks on a CPU, where that pays."""
    large = structure.edge_index.shape[1] * width > SMALL
    blocks = Blocks.of(structure, atoms) if large and structure.edge_index.device.type == "cpu" else None
    return blocks or Graph.of(structure, atoms)


def at(order: Order, place: str, operand: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
    """An operand [A, entries, F] at edges start to stop of an order: [A, edges, F]."""
    if place == "arrow":
        return operand.index_select(1, order.pair[start:stop]) * order.sign[start:stop, None]
    return operand.index_select(1, getattr(order, place)[start:stop])


def product(graph: Pairs, to: str = "target", **operands: Tensor) -> Tensor:
    """Multiply operands edge by edge and sum the products at `to`: [A, entries, F].

    Operands are named by their place (edge, pair, arrow, source, target) and shaped [A or 1, entries, F or 1].
    """
    axes, width = (max(operand.shape[dim] for operand in operands.values()) for dim in (0, 2))
    if isinstance(graph, Graph) and axes * graph.sizes["edge"] * width <= SMALL:
        return plain(graph, to, operands)
    result: Tensor = Product.apply(graph, tuple(operands), to, (axes, width), *operands.values())
    return result


def plain(graph: Graph, to: str, operands: dict[str, Tensor]) -> Tensor:
    """The same by operations that autograd knows, for what is so small that calls cost more than memory."""
    order = graph.orders["target"]
    factors = [x if place == "edge" else at(order, place, x) for place, x in operands.items()]
    value = reduce(torch.mul, sorted(factors, key=Tensor.numel))
    if to == "edge":
        return value
    if to == "arrow":
        value = value * order.sign[:, None]
    zeros = value.new_zeros(value.shape[0], graph.sizes[to], value.shape[2])
    return zeros.index_add(1, order.pair if to == "arrow" else getattr(order, to), value)


class Product(torch.autograd.Function):
    """The product of operands at `places`, summed at `to` and over what `shape` (A, F) says is of size one."""

    @staticmethod
    def forward(graph: Any, places: tuple[str, ...], to: str, shape: tuple[int, int], *operands: Tensor) -> Tensor:
        return graph.sums(places, to, shape, operands)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.graph, ctx.places, ctx.to, ctx.shape, *operands = inputs
        ctx.save_for_backward(*operands)
        ctx.save_for_forward(*operands)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        operands = ctx.saved_tensors
        of_operands: list[Tensor | None] = []
        for number, operand in enumerate(operands):
            if not ctx.needs_input_grad[4 + number]:
                of_operands.append(None)
                continue
            places = (*ctx.places[:number], *ctx.places[number + 1 :], ctx.to)
            others = (*operands[:number], *operands[number + 1 :], cotangent)
            shape = (operand.shape[0], operand.shape[2])
            of_operands.append(Product.apply(ctx.graph, places, ctx.places[number], shape, *others))
        return None, None, None, None, *of_operands

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        operands = ctx.saved_tensors
        total = None
        for number, tangent in enumerate(tangents[4:]):
            if tangent is not None:
                moved = (*operands[:number], tangent, *operands[number + 1 :])
                term = Product.apply(ctx.graph, ctx.places, ctx.to, ctx.shape, *moved)
                total = term if total is None else total + term
        assert total is not None
        return total

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        results = [
            Product.apply(
                *(x.select(dim, k) if isinstance(dim, int) else x for x, dim in zip(inputs, in_dims, strict=True))
            )
            for k in range(info.batch_size)
        ]
        return torch.stack(results), 0


def multiply(factors: list[Tensor], shape: tuple[int, int]) -> list[Tensor]:
    """The product of factors [A or 1, T, F or 1] as a list over A of [T, F], summed over what `shape` has one of.

    Factors without A are multiplied in last, after a sum over A.
    """
    factors = sorted(factors, key=lambda factor: factor.shape[2])
    single = [factor[0] for factor in factors if factor.shape[0] == 1]
    several = [factor.unbind(0) for factor in factors if factor.shape[0] > 1]
    values = [reduce(torch.mul, axis) for axis in zip(*several, strict=True)]
    if values and shape[0] == 1:
        values = [reduce(torch.add, values)]
    if single:
        common = reduce(torch.mul, single)
        values = [value * common for value in values] if values else [common]
    return [value.sum(1, keepdim=True) for value in values] if shape[1] == 1 else values


def add_by_entry(result: Tensor, factors: list[Tensor], index: Tensor) -> None:
    """Add each edge's product of factors to its entry of the result.

    On a CPU by a product with a matrix that is zero where an edge is not of an entry: faster than adding row by row,
    and small, because the index is ascending and a tile meets few entries. If only scalars of an edge depend on A,
    they go into the matrix, else the matrix holds ones.
    """
    axes, _, width = result.shape
    scalars = [factor for factor in factors if factor.shape[2] == 1]
    wide = [factor for factor in factors if factor.shape[2] > 1]
    if result.device.type != "cpu":
        for of_result, value in zip(result, multiply(factors, (axes, width)), strict=True):
            of_result.index_add_(0, index, value)
        return
    low, high = int(index[0]), int(index[-1]) + 1
    matrix = (index == torch.arange(low, high, device=index.device)[:, None]).to(result.dtype)
    if scalars and width > 1 and all(factor.shape[0] == 1 for factor in wide):
        matrices = [matrix * scalar[:, 0] for scalar in multiply(scalars, (axes, 1))]
        values = multiply(wide, (1, width)) * axes
    else:
        matrices, values = [matrix] * axes, multiply(factors, (axes, width))
    for of_result, of_edges, value in zip(result, matrices, values, strict=True):
        of_result[low:high].addmm_(of_edges, value)
