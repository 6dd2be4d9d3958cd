"""GemNet's triplet interaction by the addition theorem: Σ_b≠c P_l(cos ∠cab) x_ba for each edge c→a, without triplets.

Legendre polynomials of the angle between two edges are products of their spherical harmonics,
√((2l+1)/4π) P_l(u·v) = Σ_m Y_lm(u) Y_lm(v). So each atom sums the features of its edges times their harmonics once (its
moments), and every edge reads these moments with its own harmonics and takes away its own contribution. Cost and memory
grow with edges, not with triplets; there is no angle to clamp, and nothing is singular for atoms in line.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from jointkd.students.graph import Graph

TripletSum = Callable[[Tensor], Tensor]  # features of edges [E, F] → sums by degree [E, L, F]


class TripletGraph(Protocol):
    """A graph, and what sums over the edges that end in one atom need of it."""

    @property
    def graph(self) -> Graph:
        """The pairs and their edges."""

    def to(self, target: torch.device) -> "TripletGraph":
        """The same on a device."""

    def pin_memory(self) -> "TripletGraph":
        """The same in page-locked memory."""

    def vectors(self, positions: Tensor, edge_shift: Tensor) -> Tensor:
        """As `Graph.vectors`."""

    def triplet_sum(self, harmonics: Tensor) -> TripletSum:
        """The sums over the other edges that end where an edge does, from the edges' harmonics [E, L²]."""


class PaddedTriplets(NamedTuple):
    """Each atom has K slots for the edges that end in it, as many as the atom with most edges needs."""

    graph: Graph
    slot: Tensor  # [E] of each edge in all N K slots
    occupied: Tensor  # [N, K] whether a slot holds an edge

    @classmethod
    def of(cls, graph: Graph, atoms: int) -> "PaddedTriplets":
        """graph: of a structure or batch with so many atoms."""
        count = torch.bincount(graph.target, minlength=atoms)
        most = max(1, int(count.max()))
        order = graph.target.argsort(stable=True)
        within = torch.empty_like(order)
        within[order] = torch.arange(len(order), device=order.device) - (count.cumsum(0) - count)[graph.target[order]]
        occupied = torch.arange(most, device=count.device) < count[:, None]
        return cls(graph, graph.target * most + within, occupied)

    def to(self, target: torch.device) -> "PaddedTriplets":
        more = target.type == "cuda"
        return PaddedTriplets(
            self.graph.to(target), self.slot.to(target, non_blocking=more), self.occupied.to(target, non_blocking=more)
        )

    def pin_memory(self) -> "PaddedTriplets":
        return PaddedTriplets(self.graph.pin_memory(), self.slot.pin_memory(), self.occupied.pin_memory())

    def vectors(self, positions: Tensor, edge_shift: Tensor) -> Tensor:
        return self.graph.vectors(positions, edge_shift)

    def triplet_sum(self, harmonics: Tensor) -> TripletSum:
        degrees = math.isqrt(harmonics.shape[1])
        by_degree = self._padded(harmonics).split([2 * degree + 1 for degree in range(degrees)], dim=2)
        return partial(self._sums, by_degree)

    def _padded(self, x: Tensor) -> Tensor:
        """x [E, F] by atom and slot: [N, K, F], zero where there is no edge."""
        atoms, most = self.occupied.shape
        return x.new_zeros(atoms * most, x.shape[1]).index_add(0, self.slot, x).view(atoms, most, -1)

    def _sums(self, by_degree: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """by_degree: harmonics [N, K, 2 l + 1] of each degree; x [E, F] → [E, L, F]."""
        x = x.to(by_degree[0].dtype)  # an edge takes its own part away again: no place for a lower precision
        with torch.autocast(x.device.type, enabled=False):
            padded = self._padded(x)
            sums = torch.stack([y @ (y.mT @ padded) for y in by_degree], dim=2).flatten(0, 1)
        return sums.index_select(0, self.slot) - own_weights(len(by_degree), x) * x[:, None]


class SummedTriplets(NamedTuple):
    """The sums degree by degree over edges as they come: no size depends on the data, so that it may be exported."""

    graph: Graph
    atoms: int | torch.SymInt

    def to(self, target: torch.device) -> "SummedTriplets":
        return SummedTriplets(self.graph.to(target), self.atoms)

    def pin_memory(self) -> "SummedTriplets":
        return SummedTriplets(self.graph.pin_memory(), self.atoms)

    def vectors(self, positions: Tensor, edge_shift: Tensor) -> Tensor:
        return self.graph.vectors(positions, edge_shift)

    def triplet_sum(self, harmonics: Tensor) -> TripletSum:
        degrees = math.isqrt(harmonics.shape[1])
        return partial(self._sums, harmonics.split([2 * degree + 1 for degree in range(degrees)], dim=1))

    def _sums(self, by_degree: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """by_degree: harmonics [E, 2 l + 1] of each degree; x [E, F] → [E, L, F]."""
        x = x.to(by_degree[0].dtype)  # an edge takes its own part away again: no place for a lower precision
        sums = []
        for y in by_degree:
            moments = x.new_zeros(self.atoms, y.shape[1], x.shape[1])
            moments = moments.index_add(0, self.graph.target, y[:, :, None] * x[:, None])
            sums.append((y[:, :, None] * moments.index_select(0, self.graph.target)).sum(1))
        return torch.stack(sums, dim=1) - own_weights(len(by_degree), x) * x[:, None]


def own_weights(degrees: int, like: Tensor) -> Tensor:
    """[L, 1], what an edge contributes to its own sum of each degree: √((2l+1)/4π)."""
    degree = torch.arange(degrees, dtype=like.dtype, device=like.device)
    return ((2 * degree + 1) / (4 * math.pi)).sqrt()[:, None]
