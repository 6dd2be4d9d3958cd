"""Sums over the pairs of molecules that are smaller than the cutoff: nearly every atom neighbours every other.

The upper triangle of a molecule's pairs is cut into rectangles, ever smaller towards the diagonal, and small squares on
it. A rectangle of atoms I × J serves both directions of its pairs, I from J and J from I. Nothing is gathered or
scattered, which is most of the time of sums over a list of edges.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

LEAF = 24  # atoms at most of a square on the diagonal, which holds both directions of a pair, and atoms with themselves
ENTRIES = 2400  # at most of a rectangle
FILLED = 0.75  # of what the rectangles hold must be neighbours, or a list of edges is faster
FAR = 1000.0  # Å along each axis: where the atoms of an entry are put that are no neighbours


class Block(NamedTuple):
    """A rectangle of pairs. In its first direction its rows are targets and its columns are sources."""

    rows: slice  # atoms
    columns: slice
    entries: slice  # of what is kept by pair
    directions: tuple[int, ...]  # 1, and -1 where the block is not on the diagonal

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def of(self, place: str, values: Tensor, direction: int) -> Tensor:
        """The part of [A, entries, F] at a place: [A, targets, sources, F] of pairs and arrows, [A, atoms, F] else."""
        if place in ("source", "target"):
            return values[:, self.rows if (place == "target") == (direction == 1) else self.columns]
        part = values[:, self.entries].unflatten(1, self.shape)
        return part if direction == 1 else part.transpose(1, 2)


@dataclass(frozen=True, eq=False)
class Blocks:
    """The pairs of a batch of molecules, to be used as `edges.Graph` is. (No tuple, which torch.func takes apart.)"""

    blocks: list[Block]
    sizes: dict[str, int]
    target: Tensor  # [P] the row of each entry
    source: Tensor  # [P] its column
    shift: Tensor  # [P, 3] Å
    present: Tensor  # [P] whether the two are neighbours

    @classmethod
    def of(cls, structure: Any, atoms: int) -> "Blocks | None":
        """structure: a batch; atoms: how many entries source and target have. None where it would not pay, or where
        atoms are neighbours through several images."""
        first = structure.ptr.tolist()
        blocks = list(cut(first))
        source, target = structure.edge_index
        held = sum(len(block.directions) * (block.entries.stop - block.entries.start) for block in blocks)
        if len(target) < FILLED * held:
            return None
        entries = blocks[-1].entries.stop
        number = torch.full((first[-1], max(structure.ptr.diff().tolist())), -1)
        column = torch.arange(first[-1]) - structure.ptr[structure.batch]
        for block in blocks:
            columns = column[block.columns]
            number[block.rows, columns[0] : columns[-1] + 1] = torch.arange(
                block.entries.start, block.entries.stop
            ).view(block.shape)
        of_edges = number[target, column[source]]
        of_edges, kept = of_edges[of_edges >= 0], of_edges >= 0
        if len(of_edges.unique()) < len(of_edges):
            return None
        rows, columns = (torch.zeros(entries, dtype=torch.long) for _ in range(2))
        atom, place = (number >= 0).nonzero().T
        rows[number[atom, place]] = atom
        columns[number[atom, place]] = place + structure.ptr[structure.batch[atom]]
        shift = structure.edge_shift.new_zeros(entries, 3).index_copy(0, of_edges, structure.edge_shift[kept])
        present = torch.zeros(entries, dtype=torch.bool).index_fill(0, of_edges, True)
        sizes = {"edge": len(target), "pair": entries, "arrow": entries, "source": atoms, "target": atoms}
        return cls(blocks, sizes, rows, columns, shift, present)

    def pair_vectors(self, sources: Tensor, targets: Tensor) -> Tensor:
        """[P, 3] Å from the target of each entry to its source, which are at sources and targets [..., 3]."""
        ends = sources.index_select(0, self.source) - targets.index_select(0, self.target) + self.shift
        return torch.where(self.present[:, None], ends, FAR)

    def sums(self, places: tuple[str, ...], to: str, shape: tuple[int, int], operands: tuple[Tensor, ...]) -> Tensor:
        """See `edges.Product`. Of pair, source and target, and an arrow or not, one is `to`, the others are given."""
        new = operands[0].new_empty if to == "pair" else operands[0].new_zeros  # a block's first direction writes pairs
        result = new(shape[0], self.sizes[to], shape[1])
        add = add_with_arrow if "arrow" in (*places, to) else add_without_arrow
        for block in self.blocks:
            for direction in block.directions:
                parts = {place: block.of(place, x, direction) for place, x in zip(places, operands, strict=True)}
                add(block.of(to, result, direction), to, direction, **parts)
        return result


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


def add_without_arrow(result: Tensor, to: str, direction: int, **given: Tensor) -> None:
    """Add the block's sum of pair [1, T, S, F] * source [A, S, F] * target [A, T, F], without the one that is `to`."""
    if to == "pair":
        for axis, (x, y) in enumerate(zip(given["source"], given["target"], strict=True)):
            if axis == 0 and direction == 1:
                torch.mul(x, y[:, None], out=result[0])
            else:
                result[0].addcmul_(x, y[:, None])
    elif to == "target":
        result.add_((given["pair"] * given["source"][:, None]).sum(2))
    else:
        result.add_((given["pair"] * given["target"][:, :, None]).sum(1))


def add_with_arrow(result: Tensor, to: str, direction: int, **given: Tensor) -> None:
    """Add the block's sum of pair [1, T, S, F] * source [1, S, F] * arrow [A, T, S, 1] * target [A, T, F], without the
    one that is `to`; arrows change sign with the direction. For each target as a product of matrices."""
    if to in ("arrow", "target"):
        message = given["pair"][0] * given["source"][0]
        if to == "arrow":
            along = torch.bmm(message, given["target"].permute(1, 2, 0))  # [T, S, A]
            result[..., 0].add_(along.permute(2, 0, 1), alpha=direction)
        else:
            arrow = given["arrow"][..., 0].transpose(0, 1)  # [T, A, S]
            result.transpose(0, 1).add_(torch.bmm(arrow, message), alpha=direction)
        return
    arrow = given["arrow"][..., 0].permute(1, 2, 0)  # [T, S, A]
    along = torch.bmm(arrow, given["target"].transpose(0, 1))  # [T, S, F]
    if to == "source":
        result[0].add_((given["pair"][0] * along).sum(0), alpha=direction)
    elif direction == 1:
        torch.mul(along, given["source"][0], out=result[0])
    else:
        result[0].addcmul_(along, given["source"][0], value=direction)
