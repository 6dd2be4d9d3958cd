"""Triplet sums over groups of atoms with like numbers of edges, multiplied from where they lie in memory.

What is padded to the largest number of edges of a group holds little else than edges. L = Σ_ijk a_ij b_jk c_ik, of
harmonics a, features b and moments c, is linear in each of the three.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from jointkd.students.graph import Graph
from jointkd.students.kernels.contraction import Operands, contract
from jointkd.students.triplets import PaddedTriplets, TripletSum, own_weights

GROUP = 128  # atoms
HARMONICS, FEATURES, MOMENTS = range(3)


class StridedView(NamedTuple):
    """Where a batch of matrices lies in a tensor."""

    size: tuple[int, int, int]
    stride: tuple[int, int, int]
    offset: int


@dataclass(frozen=True, eq=False)
class StridedProducts:
    """The `Kernel` of batches of matrix products of several sizes, summed over all batches."""

    shapes: tuple[tuple[int, ...], ...]  # of harmonics, features and moments
    batches: list[tuple[StridedView, ...]]  # of each batch, where its part of the three lies

    def fresh(self) -> "StridedProducts":
        return self

    def contract(self, missing: int, order: int, x: Tensor | None, operands: Operands) -> Tensor:
        """∂L/∂operand; see `Kernel`."""
        given = {number: operand.contiguous() for number, operand in enumerate(operands) if operand is not None}
        result = next(iter(given.values())).new_empty(self.shapes[missing])
        for views in self.batches:
            part = views_of(result, views[missing])
            a, b, c = (views_of(given[n], views[n]) if n in given else part for n in range(3))
            left, right = ((c, b.mT), (a.mT, c), (a, b))[missing]
            if part.is_contiguous():
                torch.bmm(left, right, out=part)
            else:  # into which torch would multiply matrix by matrix
                part.copy_(torch.bmm(left, right))
        return result


def views_of(x: Tensor, view: StridedView) -> Tensor:
    """The matrices of a batch in a contiguous tensor: [B, rows, columns]."""
    return x.as_strided(view.size, view.stride, x.storage_offset() + view.offset)


class Group(NamedTuple):
    """Some atoms and the K slots that each has for its edges."""

    atom: int  # the first, of all N in the order of their numbers of edges
    atoms: int
    slot: int  # the first, of all S
    slots: int  # of each atom, K

    @property
    def stop(self) -> int:
        """The slot behind its last."""
        return self.slot + self.atoms * self.slots


@dataclass(frozen=True, eq=False)
class GroupedTriplets:
    """See `TripletGraph`. S slots for edges, L degrees, F features."""

    padded: PaddedTriplets  # for other devices
    groups: list[Group]
    slot: Tensor  # [E] of each edge in S
    reads: Tensor  # [E L] of each edge and degree in S L: by group, degree, atom
    to_moments: StridedProducts  # harmonics, features [S, F] → moments [N, L², F]
    to_sums: StridedProducts  # harmonics, moments → sums by degree [S L, F]

    @property
    def graph(self) -> Graph:
        return self.padded.graph

    @classmethod
    def of(cls, padded: PaddedTriplets, degrees: int, width: int) -> "GroupedTriplets":
        """padded: the plain form; width: F."""
        target = padded.graph.target
        count = padded.occupied.sum(1)
        order = count.argsort(stable=True)
        groups = list(grouped(count[order].tolist()))
        table = torch.tensor(groups)
        rank = order.argsort()[target]
        atom, atoms, first, most = table.repeat_interleave(table[:, 1], dim=0)[rank].T
        within = (rank - atom) * most + padded.slot % padded.occupied.shape[1]
        degree = torch.arange(degrees)
        reads = (degrees * first + within)[:, None] + degree * (atoms * most)[:, None]
        to_moments, to_sums = products(groups, degrees, width)
        return cls(padded, groups, first + within, reads.flatten(), to_moments, to_sums)

    def to(self, target: torch.device) -> "GroupedTriplets | PaddedTriplets":
        """On another device the plain form."""
        return self if target.type == "cpu" else self.padded.to(target)

    def pin_memory(self) -> PaddedTriplets:
        """The plain form, because it is to leave the CPU."""
        return self.padded.pin_memory()

    def vectors(self, positions: Tensor, edge_shift: Tensor) -> Tensor:
        return self.graph.vectors(positions, edge_shift)

    def triplet_sum(self, harmonics: Tensor) -> TripletSum:
        padded = harmonics.new_zeros(self.groups[-1].stop, harmonics.shape[1]).index_add(0, self.slot, harmonics)
        by_group = [padded[g.slot : g.stop].view(g.atoms, g.slots, -1).mT.flatten() for g in self.groups]
        return partial(self._sums, torch.cat(by_group), math.isqrt(harmonics.shape[1]))

    def _sums(self, harmonics: Tensor, degrees: int, x: Tensor) -> Tensor:
        """harmonics [S L²]: of each group [atoms, L², K]; x [E, F] → [E, L, F]."""
        x = x.to(harmonics.dtype)
        padded = x.new_zeros(self.to_moments.shapes[FEATURES]).index_add(0, self.slot, x)
        moments = contract(self.to_moments, MOMENTS, (harmonics, padded, None))
        sums = contract(self.to_sums, FEATURES, (harmonics, None, moments))
        by_edge = sums.index_select(0, self.reads).view(len(x), degrees, x.shape[1])
        return torch.addcmul(by_edge, own_weights(degrees, x), x[:, None], value=-1)


def grouped(counts: list[int]) -> Iterator[Group]:
    """Groups of at most GROUP atoms, of their ascending numbers of edges."""
    slot = 0
    for atom in range(0, len(counts), GROUP):
        of_group = counts[atom : atom + GROUP]
        group = Group(atom, len(of_group), slot, max(1, of_group[-1]))
        slot = group.stop
        yield group


def products(groups: list[Group], degrees: int, width: int) -> tuple[StridedProducts, StridedProducts]:
    """Where harmonics, features and moments lie, for the moments of all degrees at once and for sums by degree."""
    atoms, slots = groups[-1].atom + groups[-1].atoms, groups[-1].stop
    to_moments: list[tuple[StridedView, ...]] = []
    to_sums: list[tuple[StridedView, ...]] = []
    for first, n, slot, k in groups:
        every = degrees**2
        for_a, at_a = (every * k, k, 1), every * slot
        for_b = (k * width, width, 1)
        for_c, at_c = (every * width, width, 1), every * width * first
        to_moments.append(
            (
                StridedView((n, every, k), for_a, at_a),
                StridedView((n, k, width), for_b, width * slot),
                StridedView((n, every, width), for_c, at_c),
            )
        )
        for degree in range(degrees):
            orders, before = 2 * degree + 1, degree**2
            to_sums.append(
                (
                    StridedView((n, orders, k), for_a, at_a + before * k),
                    StridedView((n, k, width), for_b, width * (degrees * slot + degree * n * k)),
                    StridedView((n, orders, width), for_c, at_c + before * width),
                )
            )
    shapes = (slots * degrees**2,), (slots, width), (atoms, degrees**2, width)
    return StridedProducts(shapes, to_moments), StridedProducts(
        (shapes[0], (slots * degrees, width), shapes[2]), to_sums
    )
