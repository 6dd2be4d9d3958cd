"""Sums over edges of products, without a stored product: what message passing is made of.

Every operand sits on the graph's edges, or on what an edge belongs to: its pair (both directions of it), its source
or its target. A product's derivative by one operand is again such a product, summed onto that operand's place; so
one function, made in tiles that fit the processor's cache, serves every order of derivative and keeps only operands.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

TILE = {"cpu": 1024}  # edges at a time; elsewhere all of them


class Order(NamedTuple):
    """The edges in an order that has all of one entry of a place together, and where each edge's operands are."""

    edge: Tensor  # [E]
    pair: Tensor
    source: Tensor
    target: Tensor
    size: int  # entries of the place


class Graph(NamedTuple):
    """Edges in the order in which each kind of sum takes them. E edges, P = E / 2 pairs, N atoms."""

    edge: Order
    pair: Order  # one edge of each pair, then its reverse
    source: Order
    target: Order

    @classmethod
    def of(cls, structure: Any) -> "Graph":
        """The graph of a batch, whose edges are sorted by target."""
        source, target = structure.edge_index
        reverse = structure.edge_reverse
        edge = torch.arange(len(reverse), device=reverse.device)
        number = (edge < reverse).cumsum(0) - 1
        pair = torch.where(edge < reverse, number, number[reverse])
        first = (edge < reverse).nonzero()[:, 0]
        halves = torch.cat([first, reverse[first]])

        def ordered(order: Tensor, size: int) -> Order:
            return Order(order, pair[order], source[order], target[order], size)

        by_target = Order(edge, pair, source, target, structure.num_nodes)
        return cls(
            edge=by_target._replace(size=len(edge)),
            pair=ordered(halves, len(first)),
            source=ordered(reverse, structure.num_nodes),
            target=by_target,
        )

    @property
    def first(self) -> Tensor:
        """[P] one edge of every pair."""
        return self.pair.edge[: self.pair.size]


def product(graph: Graph, to: str = "target", **operands: Tensor) -> Tensor:
    """Multiply operands edge by edge and sum the products at `to`: [A, entries, F].

    Operands are named by their place (edge, pair, source, target) and shaped [A or 1, entries, F or 1].
    """
    shape = tuple(max(operand.shape[dim] for operand in operands.values()) for dim in (0, 2))
    result: Tensor = Product.apply(graph, tuple(operands), to, shape, *operands.values())
    return result


class Product(torch.autograd.Function):
    """The product of operands at `places`, summed at `to` and over what `shape` (A, F) says is of size one."""

    @staticmethod
    def forward(graph: Graph, places: tuple[str, ...], to: str, shape: tuple[int, int], *operands: Tensor) -> Tensor:
        order: Order = getattr(graph, to)
        result = operands[0].new_zeros(shape[0], order.size, shape[1])
        edges = len(order.edge)
        half = order.size if to == "pair" else edges
        tile = TILE.get(result.device.type, edges)
        for start in (*range(0, half, tile), *range(half, edges, tile)):
            part = slice(start, min(start + tile, half if start < half else edges))
            factors = [entries(x, getattr(order, place)[part]) for x, place in zip(operands, places, strict=True)]
            add(result, factors, order, to, part)
        return result

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.graph, ctx.places, ctx.to, ctx.shape, *operands = inputs
        ctx.save_for_backward(*operands)
        ctx.save_for_forward(*operands)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Any, ...]:
        operands = ctx.saved_tensors
        of_operands = []
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
            Product.apply(*(x if dim is None else x.select(dim, k) for x, dim in zip(inputs, in_dims, strict=True)))
            for k in range(info.batch_size)
        ]
        return torch.stack(results), 0


def entries(operand: Tensor, index: Tensor) -> Tensor:
    """An operand's entries of some edges: [A or 1, T, F or 1]."""
    return operand.index_select(1, index)


def add(result: Tensor, factors: list[Tensor], order: Order, to: str, part: slice) -> None:
    """Add the product of a tile's factors to the entries of its edges.

    Where the result is summed over A, that sum is taken before factors without A are multiplied in.
    """
    sum_wide, sum_axes = result.shape[2] == 1, result.shape[0] == 1
    single = multiply([x[0] for x in factors if x.shape[0] == 1])
    several = [x for x in factors if x.shape[0] > 1]
    if several and sum_axes:
        total = multiply([x[0] for x in several])
        for axis in range(1, several[0].shape[0]):
            more = multiply([x[axis] for x in several])
            total = total + more
        values = [total if single is None else total * single]
    elif several:
        values = [multiply([x[axis] for x in several] + ([] if single is None else [single])) for axis in range(several[0].shape[0])]
    else:
        values = [single]
    if sum_wide:
        values = [value.sum(1, keepdim=True) for value in values]
    if to in ("source", "target"):
        index = getattr(order, to)[part]
        low, high = int(index[0]), int(index[-1]) + 1
        matrix = (index == torch.arange(low, high, device=index.device)[:, None]).to(result.dtype)
        for of_result, value in zip(result, values, strict=True):
            of_result[low:high].addmm_(matrix, value)
    else:
        start = part.start % order.size if to == "pair" else part.start
        for of_result, value in zip(result, values, strict=True):
            of_result[start : start + part.stop - part.start] += value


def multiply(factors: list[Tensor]) -> Tensor | None:
    """The product of all factors, the narrow ones first; None of none."""
    value = None
    for factor in sorted(factors, key=lambda x: x.shape[1]):
        value = factor if value is None else value * factor
    return value
