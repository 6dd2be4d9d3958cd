"""Sums of messages over the pairs of molecules smaller than the cutoff, where nearly all atoms are neighbours.

The upper triangle of a molecule's matrix of pairs is cut into rectangles, smaller towards the diagonal, and small
squares on it. A rectangle of atoms I × J serves both directions of its pairs, I from J and J from I. Nothing is
gathered or scattered, which is most of the time of sums over a list of edges.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointkd.structures.batch import Structure
from jointkd.students.graph import EdgesToAtoms, Graph
from jointkd.students.kernels.contraction import Operands
from jointkd.students.kernels.pair_list import DIRECTIONS, FEATURES, FILTERS, RESULT, PairList, empty_result

LEAF = 24  # largest size of a square on the diagonal, which holds both directions of a pair, and atoms with themselves
ENTRIES = 2400  # largest number of entries of a rectangle
FILLED = 0.75  # the share of entries that must be neighbours, or a list of edges is faster
FAR = 1000.0  # Å along each axis: the vector of an entry whose atoms are not neighbours


class Block(NamedTuple):
    """A rectangle of pairs. In its first direction its rows are targets and its columns are sources."""

    rows: slice  # atoms
    columns: slice  # atoms
    entries: slice  # of all P
    directions: tuple[int, ...]  # 1, and -1 where the block is not on the diagonal

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


@dataclass(frozen=True, eq=False)
class Blocks(PairList):
    """The pairs of a batch of molecules as blocks; P counts the entries of all blocks."""

    blocks: list[Block]
    row: Tensor  # [P] the atom of each entry's row
    column: Tensor  # [P] the atom of each entry's column
    edge: Tensor  # [P] the structure's edge from column to row; any where there is none
    present: Tensor  # [P] whether the two atoms are neighbours
    pair: Tensor  # [E] the entry of each edge of the graph
    sign: Tensor  # [E] -1 where that entry's edge is the reverse

    @classmethod
    def of(cls, graph: Graph, structure: Structure) -> "Blocks | None":
        """None where blocks would not pay, or where atoms are neighbours through several periodic images."""
        first = structure.ptr.tolist()
        blocks = list(cut(first))
        source, target = structure.edge_index
        held = sum(len(block.directions) * (block.entries.stop - block.entries.start) for block in blocks)
        if len(target) < FILLED * held:
            return None
        entries = blocks[-1].entries.stop
        number = torch.full((first[-1], max(structure.ptr.diff().tolist())), -1)  # of each atom and place of another
        place = torch.arange(first[-1]) - structure.ptr[structure.batch]
        for block in blocks:
            start = int(place[block.columns.start])
            numbers = torch.arange(block.entries.start, block.entries.stop).view(block.shape)
            number[block.rows, start : start + block.shape[1]] = numbers
        of_edges = number[target, place[source]]  # -1 where the entry is that of the reverse
        direct = (of_edges >= 0).nonzero()[:, 0]
        edge, present = torch.zeros(entries, dtype=torch.long), torch.zeros(entries, dtype=torch.bool)
        edge[of_edges[direct]], present[of_edges[direct]] = direct, True
        if int(present.sum()) < len(direct):
            return None
        atom, other = (number >= 0).nonzero().T
        row, column = torch.empty_like(edge), torch.empty_like(edge)
        row[number[atom, other]] = atom
        column[number[atom, other]] = other + structure.ptr[structure.batch[atom]]
        in_order = torch.cat([graph.first, structure.edge_reverse[graph.first]])
        pair = torch.where(of_edges < 0, of_edges[structure.edge_reverse], of_edges)[in_order]
        sign = torch.where(of_edges < 0, -1, 1)[in_order]
        return cls(graph, blocks, row, column, edge, present, pair, sign)

    def vectors(self, positions: Tensor, edge_shift: Tensor) -> Tensor:
        ends = positions.index_select(0, self.column) - positions.index_select(0, self.row)
        return torch.where(self.present[:, None], ends + edge_shift.index_select(0, self.edge), FAR)

    def ends(self) -> tuple[Tensor, Tensor]:
        return self.column, self.row

    def ending_in(self, atoms: Tensor) -> EdgesToAtoms:
        near = self.graph.ending_in(atoms)
        return near._replace(pair=self.pair[near.edge], sign=self.sign[near.edge])

    def contract(self, missing: int, order: int, x: Tensor | None, operands: Operands) -> Tensor:
        """∂L/∂operand of the L of `kernels.pair_list`; see `Kernel`."""
        # the first direction of a block writes the filters of its pairs, and all else is added up
        result = empty_result(missing, operands, len(self.row), zero=missing != FILTERS)
        add = add_scalars if operands[DIRECTIONS] is None and missing != DIRECTIONS else add_vectors
        every: list[Any] = [result if number == missing else operand for number, operand in enumerate(operands)]
        filters, features, cotangent, directions = every
        for block in self.blocks:
            for sign in block.directions:
                targets, sources = (block.rows, block.columns) if sign == 1 else (block.columns, block.rows)
                along = None if directions is None else of_block(directions, block, 1, sign)
                x = None if features is None else features[:, sources]
                y = None if cotangent is None else cotangent[:, targets]
                add(missing, sign, of_block(filters, block, 0, sign), x, y, along)
        return result


def of_block(values: Tensor, block: Block, dim: int, sign: int) -> Tensor:
    """The entries of a block, which are the dimension `dim` of values, as two dimensions: targets, sources."""
    part = values.narrow(dim, block.entries.start, block.entries.stop - block.entries.start)
    part = part.unflatten(dim, block.shape)
    return part if sign == 1 else part.transpose(dim, dim + 1)


def add_scalars(missing: int, sign: int, filters: Tensor, x: Any, y: Any, _: Any) -> None:
    """Add to the missing operand its gradient of Σ filters [T, S, F] x [A, S, F] y [A, T, F]."""
    if missing == RESULT:
        y.add_((filters * x[:, None]).sum(2))
    elif missing == FEATURES:
        x.add_((filters * y[:, :, None]).sum(1))
    else:
        for axis, (source, target) in enumerate(zip(x, y, strict=True)):
            if axis == 0 and sign == 1:
                torch.mul(source, target[:, None], out=filters)
            else:
                filters.addcmul_(source, target[:, None])


def add_vectors(missing: int, sign: int, filters: Tensor, x: Any, y: Any, directions: Any) -> None:
    """The same of Σ sign filters [T, S, F] x [1, S, F] directions [3, T, S] y [3, T, F], as products of matrices."""
    if missing in (RESULT, DIRECTIONS):
        messages = filters * x[0]
        if missing == RESULT:
            y.transpose(0, 1).add_(torch.bmm(directions.transpose(0, 1), messages), alpha=sign)
        else:
            directions.add_(torch.bmm(messages, y.permute(1, 2, 0)).permute(2, 0, 1), alpha=sign)
        return
    along = torch.bmm(directions.permute(1, 2, 0), y.transpose(0, 1))  # [T, S, F]
    if missing == FEATURES:
        x[0].add_((filters * along).sum(0), alpha=sign)
    elif sign == 1:
        torch.mul(along, x[0], out=filters)
    else:
        filters.addcmul_(along, x[0], value=sign)


def cut(first: list[int]) -> Iterator[Block]:
    """The blocks of structures whose atoms begin at `first`, which ends with the number of all."""
    at = 0
    for start, stop in itertools.pairwise(first):
        for rows, columns in rectangles(start, stop):
            count = (rows.stop - rows.start) * (columns.stop - columns.start)
            yield Block(rows, columns, slice(at, at + count), (1,) if rows == columns else (1, -1))
            at += count


def rectangles(start: int, stop: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the squares and rectangles that cover the upper triangle of atoms start to stop."""
    if stop - start <= LEAF:
        yield slice(start, stop), slice(start, stop)
        return
    middle = (start + stop) // 2
    yield from rectangles(start, middle)
    yield from rectangles(middle, stop)
    height = max(1, ENTRIES // (stop - middle))
    for row in range(start, middle, height):
        yield slice(row, min(row + height, middle)), slice(middle, stop)
