"""Neighbour graphs as students use them: everything that follows from the neighbour list alone.

The loader builds a graph once for a batch (`student.graph_of`); forward passes only index with it, so that they have no
shape that depends on data and nothing that waits for a GPU. These plain forms run on every device and under every
transform of torch; `jointkd.students.kernels` has faster ones for a CPU.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from jointkd.structures.batch import Structure


class PairGraph(Protocol):
    """P pairs of neighbours. Functions of the distance are computed once per pair and used in both directions."""

    def to(self, target: torch.device) -> "PairGraph":
        """The same on a device."""

    def pin_memory(self) -> "PairGraph":
        """The same in page-locked memory."""

    def vectors(self, positions: Tensor, edge_shift: Tensor) -> Tensor:
        """[P, 3] Å from the target of each pair's first edge to its source. edge_shift [E, 3] Å: the structure's."""

    def ends(self) -> tuple[Tensor, Tensor]:
        """[P], [P] the source and the target of the first edge of each pair."""

    def aggregate(self, filters: Tensor, features: Tensor, directions: Tensor | None = None) -> Tensor:
        """Sum of messages over the neighbours j of every atom i; see `aggregate`. filters [P, F]; directions [3, P]."""

    def ending_in(self, atoms: Tensor) -> "EdgesToAtoms":
        """The edges that end in some atoms [M], whose number depends on the atoms."""


class EdgesToAtoms(NamedTuple):
    """The edges that end in M atoms."""

    edge: Tensor  # [K] of all edges of a `Graph`
    pair: Tensor  # [K] the pair of each edge
    sign: Tensor  # [K] 1 for the first edge of its pair, -1 for its reverse
    source: Tensor  # [K] of all atoms
    target: Tensor  # [K] of the M atoms
    atoms: Tensor  # [M]

    def aggregate(self, filters: Tensor, features: Tensor, directions: Tensor | None = None) -> Tensor:
        """As `PairGraph.aggregate`, with filters [K, F] and directions [3, K] by edge, to [A, M, F]."""
        return aggregate(filters, features, directions, self.source, self.target, len(self.atoms))


class Graph(NamedTuple):
    """P pairs of neighbours as E = 2 P directed edges: the first edge of every pair, then the reverse of every one."""

    first: Tensor  # [P] the first edge of each pair, as an index of the structure's edges
    source: Tensor  # [E] atom
    target: Tensor  # [E] atom

    @classmethod
    def of(cls, structure: Structure) -> "Graph":
        """The graph of a structure or batch."""
        reverse = structure.edge_reverse
        first = (torch.arange(len(reverse), device=reverse.device) < reverse).nonzero()[:, 0]
        source, target = structure.edge_index.index_select(1, first)
        return cls(first, torch.cat([source, target]), torch.cat([target, source]))

    def to(self, target: torch.device) -> "Graph":
        return Graph(*(index.to(target, non_blocking=target.type == "cuda") for index in self))

    def pin_memory(self) -> "Graph":
        return Graph(*(index.pin_memory() for index in self))

    def vectors(self, positions: Tensor, edge_shift: Tensor) -> Tensor:
        source, target = self.ends()
        ends = positions.index_select(0, source) - positions.index_select(0, target)
        return ends + edge_shift.index_select(0, self.first)

    def ends(self) -> tuple[Tensor, Tensor]:
        pairs = self.first.shape[0]  # `len` would fix the number in a trace
        return self.source[:pairs], self.target[:pairs]

    def reverse(self, x: Tensor) -> Tensor:
        """x [E, …] of the reverse of each edge."""
        pairs = self.first.shape[0]
        return torch.cat([x[pairs:], x[:pairs]])

    def times(self, x: Tensor, by_pair: Tensor) -> Tensor:
        """x [E, F] of edges, multiplied by what is the same for both edges of a pair [P, F]."""
        return (x.unflatten(0, (2, by_pair.shape[0])) * by_pair).flatten(0, 1)

    def sum(self, x: Tensor, atoms: int) -> Tensor:
        """x [E, F] summed over the edges that end in each of the atoms: [N, F]."""
        return x.new_zeros(atoms, x.shape[1]).index_add(0, self.target, x)

    def aggregate(self, filters: Tensor, features: Tensor, directions: Tensor | None = None) -> Tensor:
        both = None if directions is None else torch.cat([directions, -directions], dim=1)
        return aggregate(twice(filters), features, both, self.source, self.target, features.shape[1])

    def ending_in(self, atoms: Tensor) -> EdgesToAtoms:
        target, edge = (atoms[:, None] == self.target).nonzero(as_tuple=True)
        pairs = self.first.shape[0]
        is_first = edge < pairs
        pair, sign = torch.where(is_first, edge, edge - pairs), torch.where(is_first, 1, -1)
        return EdgesToAtoms(edge, pair, sign, self.source[edge], target, atoms)


def twice(x: Tensor) -> Tensor:
    """x [P, …] of pairs as that of their edges [E, …]."""
    return torch.cat([x, x])


def aggregate(
    filters: Tensor, features: Tensor, directions: Tensor | None, source: Tensor, target: Tensor, atoms: int
) -> Tensor:
    """Σ over edges j→i of filter ∘ x_j, or of direction ⊗ filter ∘ x_j: [A, N, F].

    filters [E, F]; features [A, N', F] of the sources. With directions [3, E] features have A = 1 and the result A = 3.
    """
    messages = filters * features.index_select(1, source)
    if directions is not None:
        messages = directions[:, :, None] * messages
    return messages.new_zeros(messages.shape[0], atoms, messages.shape[2]).index_add(1, target, messages)
