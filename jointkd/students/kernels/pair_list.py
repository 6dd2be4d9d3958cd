"""Sums of messages over a list of pairs, in parts that fit a processor's cache, without stored products.

Message passing multiplies, edge by edge, a filter of the pair, features of the source and, for vectors, the edge's
direction, which is antisymmetric: it changes sign where source and target are swapped. The sum over edges, with a
cotangent y of the result, L = Σ_edges filter · x_source · (direction) · y_target, is linear in each of the four.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jointkd.students.graph import EdgesToAtoms, Graph
from jointkd.students.kernels.contraction import Operands, contract

FILTERS, FEATURES, RESULT, DIRECTIONS = range(4)  # [P, F], [A, N, F], [A', N, F], [3, P]; A' is 3 with directions
PART = 1024  # pairs


@dataclass(frozen=True, eq=False)
class PairList:
    """A graph whose sums keep their operands only, and the `Kernel` of L."""

    graph: Graph

    def to(self, target: torch.device) -> "PairList | Graph":
        """On another device the plain graph."""
        return self if target.type == "cpu" else self.graph.to(target)

    def pin_memory(self) -> Graph:
        """The plain graph, because it is to leave the CPU."""
        return self.graph.pin_memory()

    def vectors(self, positions: Tensor, edge_shift: Tensor) -> Tensor:
        return self.graph.vectors(positions, edge_shift)

    def ends(self) -> tuple[Tensor, Tensor]:
        return self.graph.ends()

    def ending_in(self, atoms: Tensor) -> EdgesToAtoms:
        return self.graph.ending_in(atoms)

    def aggregate(self, filters: Tensor, features: Tensor, directions: Tensor | None = None) -> Tensor:
        return contract(self, RESULT, (filters, features, None, directions))

    def fresh(self) -> "PairList":
        return self

    def contract(self, missing: int, order: int, x: Tensor | None, operands: Operands) -> Tensor:
        """∂L/∂operand; see `Kernel`."""
        result = empty_result(missing, operands, len(self.graph.first), zero=True)
        pairs = len(self.graph.first)
        ends = self.ends()
        for start in range(0, pairs, PART):
            part = slice(start, start + PART)
            first, second = (end[part] for end in ends)
            for sign, source, target in ((1, first, second), (-1, second, first)):
                add(result, missing, part, source, target, sign, operands)
        return result


def empty_result(missing: int, operands: Operands, pairs: int, zero: bool) -> Tensor:
    """A tensor of the missing operand's shape."""
    _, features, result, directions = operands
    example: Tensor = result if features is None else features
    axes, atoms, width = example.shape
    if missing == RESULT and directions is not None:
        axes = 3
    elif missing == FEATURES and directions is not None:
        axes = 1
    shape = {FILTERS: (pairs, width), DIRECTIONS: (3, pairs)}.get(missing, (axes, atoms, width))
    return example.new_zeros(shape) if zero else example.new_empty(shape)


def add(
    result: Tensor, missing: int, part: slice, source: Tensor, target: Tensor, sign: int, operands: Operands
) -> None:
    """Add what the edges of some pairs in one direction contribute."""
    filters, features, cotangent, directions = operands
    weight: Any = None if filters is None else filters[part]
    along = None if directions is None else sign * directions[:, part, None]
    x: Any = None if features is None else features.index_select(1, source)
    y: Any = None if cotangent is None else cotangent.index_select(1, target)
    if missing == RESULT:
        message = weight * x
        for axis, total in enumerate(result):
            total.index_add_(0, target, message[axis] if along is None else along[axis] * message[0])
        return
    if missing == DIRECTIONS:
        result[:, part] += sign * (y * (weight * x)).sum(2)
        return
    y = y if along is None else (along * y).sum(0, keepdim=True)
    if missing == FEATURES:
        for of_axis, total in zip(weight * y, result, strict=True):
            total.index_add_(0, source, of_axis)
    else:
        result[part] += (x * y).sum(0)
