"""PaiNN (Schütt, Unke and Gastegger, ICML 2021), in the form that the paper distils into.

Scalars s [N, F] and vectors v [3, N, F] live on atoms (axes first: products with [N, F] then run over one block).
Each layer is a message (eq. 7, 8), which sums over neighbours through a filter of the distance, and an update
(eq. 9, 10), which mixes the two on each atom.
Normalisation, scaled activation and the 1/√ factors follow the Open Catalyst implementation, whose weights load.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from jointkd.structures.batch import Prediction, Structure
from jointkd.students import kernels
from jointkd.students.base import check_sizes
from jointkd.students.basis import LayerNorm, RadialBasis, length
from jointkd.students.graph import EdgesToAtoms, PairGraph
from jointkd.students.operations import Linear, ScaledSiLU, pair_graph, radial_filters
from jointkd.students.repulsion import repulsion_of

SOFTENING = 0.1  # in the units of the features, which are of order one


class Neighbourhood(NamedTuple):
    """What messages are made with: which atoms are neighbours, and functions of the vectors between them."""

    graph: PairGraph | EdgesToAtoms
    directions: Tensor  # [3, P] unit vectors
    filters: Callable[[Tensor], Tensor]  # weights [F, K + 1] → [P, F]


class Message(nn.Module):
    """Δs_i and Δv_i from all neighbours j of i; v None is zero. Source: PaiNN, eq. 7 and 8."""

    def __init__(self, width: int, radial: int) -> None:
        super().__init__()
        self.width = width
        self.norm = LayerNorm(width)
        self.context = nn.Sequential(Linear(width, width), ScaledSiLU(), Linear(width, 3 * width))
        self.filter = nn.Linear(radial, 3 * width)

    def forward(self, s: Tensor, v: Tensor | None, near: Neighbourhood) -> tuple[Tensor, Tensor]:
        weights = torch.cat([self.filter.weight, self.filter.bias[:, None]], dim=1)
        for_scalar, for_gate, for_direction = (near.filters(part) for part in weights.split(self.width))
        scalar, gate, along = self.context(self.norm(s)).split(self.width, dim=-1)
        along = along / math.sqrt(self.width)
        delta_s = near.graph.aggregate(for_scalar, scalar[None])[0]
        delta_v = near.graph.aggregate(for_direction, along[None], near.directions)
        if v is None:
            return delta_s, delta_v
        gated = gate * v / math.sqrt(3 * self.width)
        return delta_s, delta_v + near.graph.aggregate(for_gate, gated)


class Update(nn.Module):
    """Δs_i, Δv_i from the atom's own s_i, v_i. Source: PaiNN, eq. 9 and 10."""

    def __init__(self, width: int, softening: float) -> None:
        super().__init__()
        self.width = width
        self.softening = softening
        self.mix = Linear(width, 2 * width, bias=False)
        self.context = nn.Sequential(Linear(2 * width, width), ScaledSiLU(), Linear(width, 3 * width))

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        u, w = self.mix(v).split(self.width, dim=-1)
        product = (u * w).sum(0) / math.sqrt(self.width)
        add, scale, gate = self.context(torch.cat([s, length(w, 0, self.softening)], dim=-1)).split(self.width, dim=-1)
        return (add + scale * product) / math.sqrt(2), gate * u

    def without_vectors(self, s: Tensor) -> Tensor:
        """Δs where all vectors vanish, as those of an isolated atom do."""
        lengths = torch.full_like(s, self.softening)
        return self.context(torch.cat([s, lengths], dim=-1))[:, : self.width] / math.sqrt(2)


class GatedBlock(nn.Module):
    """Gated equivariant block that narrows s and v from `width` to `out`. Source: PaiNN, fig. 3."""

    def __init__(self, width: int, out: int, softening: float) -> None:
        super().__init__()
        self.out = out
        self.softening = softening
        self.to_norm = Linear(width, width, bias=False)
        self.to_vector = Linear(width, out, bias=False)
        self.gate = nn.Sequential(Linear(2 * width, width), ScaledSiLU(), Linear(width, 2 * out))
        self.activation = ScaledSiLU()

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        norms = length(self.to_norm(v), 0, self.softening)
        s, gate = self.gate(torch.cat([s, norms], dim=-1)).split(self.out, dim=-1)
        return self.activation(s), gate * self.to_vector(v)


class PaiNN(nn.Module):
    """Polarisable atom interaction network: energies of atoms, and forces from a head or as a gradient.

    width: features per atom; layers: message-update pairs; radial: Gaussians; cutoff: Å; conservative: forces
    are -∂E/∂R rather than a head's output; elements: highest atomic number known; smooth: the filter's bias
    fades with the envelope and lengths of features are softened, so that nothing jumps at the cutoff and nothing
    kinks where a feature vanishes by symmetry, and an atom without neighbours has no energy (False: as the reference
    implementation, for its weights);
    max_neighbors: see `neighbors`;
    repulsion: whether nuclei repel each other at short distances, see `Repulsion`.
    """

    scales: Tensor  # [layers]

    def __init__(
        self,
        width: int = 128,
        layers: int = 4,
        radial: int = 128,
        cutoff: float = 12.0,
        conservative: bool = False,
        elements: int = 83,
        smooth: bool = True,
        max_neighbors: int | None = None,
        repulsion: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(cutoff, elements, max_neighbors, least_width=2, width=width, layers=layers, radial=radial)
        self.width = width
        self.cutoff = cutoff
        self.max_neighbors = max_neighbors
        self.repulsion = repulsion
        self.short_range = repulsion_of(repulsion, conservative, elements)
        self.conservative = conservative
        self.elements = elements
        self.smooth = smooth
        self.embedding = nn.Embedding(elements, width)
        self.basis = RadialBasis(radial, smooth)
        self.messages = nn.ModuleList(Message(width, radial) for _ in range(layers))
        self.updates = nn.ModuleList(Update(width, SOFTENING if smooth else 1e-4) for _ in range(layers))
        self.register_buffer("scales", torch.ones(layers))
        self.energy_head = nn.Sequential(Linear(width, width // 2), ScaledSiLU(), Linear(width // 2, 1))
        self.force_head = None
        if not conservative:
            softening = SOFTENING if smooth else 0.0
            widths = (width, width // 2, 1)
            self.force_head = nn.ModuleList(GatedBlock(*pair, softening) for pair in itertools.pairwise(widths))
        self.reset_parameters()
        if smooth:  # it cancels with that of isolated atoms: its gradient is rounding error, with which it would wander
            cast(nn.Linear, self.energy_head[-1]).bias.requires_grad_(False)

    def reset_parameters(self) -> None:
        """Uniform embedding of unit variance, Glorot weights, zero biases."""
        nn.init.uniform_(self.embedding.weight, -math.sqrt(3), math.sqrt(3))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def hops(self) -> int:
        """How many messages away the atoms lie that an atom's energy depends on."""
        return len(self.messages)

    def graph_of(self, structure: Structure) -> PairGraph:
        """What the student needs of a structure's neighbour list."""
        return pair_graph(structure, self.width)

    def forward(self, positions: Tensor, structure: Structure) -> Prediction:
        """positions [N, 3] Å → atomic energies [N] eV and, with a force head, forces [N, 3] eV/Å."""
        graph = self.graph_of(structure) if structure.graph is None else cast(PairGraph, structure.graph)
        return self.from_vectors(graph.vectors(positions, structure.edge_shift), graph, structure.atomic_numbers)

    def from_vectors(self, vectors: Tensor, graph: PairGraph, atomic_numbers: Tensor) -> Prediction:
        """The prediction from the vectors of pairs [P, 3] Å; atomic_numbers [N]."""
        near = self._neighbourhood(vectors, graph)
        s, v = self.embedding(atomic_numbers - 1), None
        for number in range(len(self.messages) - 1):
            s, v = self._layer(number, s, v, near)
        before_last = s, v
        s, v = self._layer(-1, s, v, near)

        features = self.energy_head[:-1](s)
        atomic_energies = self.energy_head[-1](features)[:, 0]
        if self.smooth:
            atomic_energies = atomic_energies - self.isolated_energies().index_select(0, atomic_numbers - 1)
        if self.short_range is not None:
            atomic_energies = atomic_energies + self.short_range(vectors, graph, atomic_numbers)
        if self.force_head is None:
            return Prediction(atomic_energies, features=features)

        def forces_of(atoms: Tensor) -> Tensor:
            edges = graph.ending_in(atoms)
            near = self._neighbourhood(vectors.index_select(0, edges.pair) * edges.sign[:, None], edges)
            return self._forces(*self._layer(-1, *before_last, near, atoms))

        some_forces = forces_of if kernels.on(vectors) else None
        return Prediction(atomic_energies, self._forces(s, v), forces_of=some_forces, features=features)

    def isolated_energies(self) -> Tensor:
        """[elements] eV of atoms without neighbours, which are subtracted so that such atoms have no energy."""
        s, updates = self.embedding.weight, cast("list[Update]", list(self.updates))
        for scale, update in zip(self.scales, updates, strict=True):
            s = s / math.sqrt(2)
            s = scale * (s + update.without_vectors(s))
        return self.energy_head(s)[:, 0]

    def _neighbourhood(self, vectors: Tensor, graph: PairGraph | EdgesToAtoms) -> Neighbourhood:
        distances = length(vectors, 1)
        directions = (vectors / distances[:, None]).T
        return Neighbourhood(graph, directions, radial_filters(self.basis, distances / self.cutoff))

    def _layer(
        self, number: int, s: Tensor, v: Tensor | None, near: Neighbourhood, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """s and v after a message and an update, of all atoms or of the targets, at which messages then end."""
        delta_s, delta_v = self.messages[number](s, v, near)
        if targets is not None:
            s, v = s.index_select(0, targets), None if v is None else v.index_select(1, targets)
        s, v = (s + delta_s) / math.sqrt(2), delta_v if v is None else v + delta_v
        delta_s, delta_v = self.updates[number](s, v)
        return self.scales[number] * (s + delta_s), v + delta_v

    def _forces(self, s: Tensor, v: Tensor) -> Tensor:
        """[N, F], [3, N, F] → [N, 3] eV/Å."""
        assert self.force_head is not None
        for block in self.force_head:
            s, v = block(s, v)
        return v[:, :, 0].T
