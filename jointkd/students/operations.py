"""The operations that students are made of: plain torch or, where that pays, kernels for a CPU (`kernels.on`).

Which of the two is decided here and nowhere else. Sizes below which torch's own operations are taken are those where
calls cost more than arithmetic and memory.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from jointkd.structures.batch import Structure
from jointkd.students import kernels
from jointkd.students.basis import RadialBasis
from jointkd.students.graph import Graph, PairGraph
from jointkd.students.kernels import onednn
from jointkd.students.kernels.activation import GAIN, scaled_silu
from jointkd.students.kernels.bands import Bands
from jointkd.students.kernels.blocks import Blocks
from jointkd.students.kernels.grouped_triplets import GroupedTriplets
from jointkd.students.kernels.pair_list import PairList
from jointkd.students.triplets import PaddedTriplets, SummedTriplets, TripletGraph

SMALL_ACTIVATION = 2**17  # entries of an input
SMALL_BASIS = 2**19  # entries of pairs x radial functions
SMALL_PRODUCT = 2**22  # multiplications of a product of matrices
SMALL_GRAPH = 2**20  # entries of edges x features
SMALL_TRIPLETS = 2**16  # entries of edges x features


class ScaledSiLU(nn.Module):
    """x σ(x) / 0.6, which keeps the variance of a normal input. Source: GemNet."""

    def forward(self, x: Tensor) -> Tensor:
        if kernels.on(x) and x.numel() > SMALL_ACTIVATION:
            return scaled_silu(x)
        return nn.functional.silu(x) * GAIN


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., J], weight [K, J] and bias [K] → [..., K]."""
    if kernels.on(x) and x.numel() * len(weight) >= SMALL_PRODUCT and onednn.is_faster():
        return onednn.linear(x, weight, bias)
    return nn.functional.linear(x, weight, bias)


class Linear(nn.Linear):
    """A linear map by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def radial_filters(basis: RadialBasis, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The function weights [F, K + 1] → filters [P, F] = φ(x) Wᵀ of pairs at distances x [P] in cutoffs."""
    if kernels.on(x) and len(x) * (basis.count + 1) > SMALL_BASIS:
        return Bands(basis, x)
    phi = basis(x)
    return lambda weight: phi @ weight.T


def pair_graph(structure: Structure, width: int) -> PairGraph:
    """The graph of a structure or batch for sums of `width` features over pairs."""
    graph = Graph.of(structure)
    if not kernels.on(structure.positions) or len(graph.source) * width <= SMALL_GRAPH:
        return graph
    return Blocks.of(graph, structure) or PairList(graph)


def triplet_graph(structure: Structure, degrees: int, width: int) -> TripletGraph:
    """The graph of a structure or batch for triplet sums of so many degrees and of `width` features."""
    graph = Graph.of(structure)
    if not kernels.on(structure.positions):
        return SummedTriplets(graph, structure.num_atoms)
    padded = PaddedTriplets.of(graph, structure.num_atoms)
    if len(graph.source) * width <= SMALL_TRIPLETS:
        return padded
    return GroupedTriplets.of(padded, degrees, width)


def plain_graph(graph_of: Callable[[Structure], Any], structure: Structure) -> Any:
    """What `graph_of` makes of a structure where no kernels are used."""
    with kernels.disabled():
        return graph_of(structure)
