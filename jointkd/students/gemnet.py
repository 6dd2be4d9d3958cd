"""GemNet-dT and GemNet-T (Gasteiger, Becker and Günnemann, NeurIPS 2021), as the paper distils into them.

Messages m [E, F] live on directed edges, features h [N, F] on atoms. Each interaction block lets an edge c→a hear
the other edges b→a that end where it does, through their distances and the angle between them (eq. 8 without
quadruplets; `triplets`), and passes on to the atoms; an output block after each reads energies off the atoms and, in
GemNet-dT, forces off the edges. GemNet-T has no force head: its forces are the energy's gradient.
Functions of the distance are computed once per pair [P] and used for both of its edges, E = 2 P.
"""

import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from jointkd.structures.batch import Prediction, Structure
from jointkd.students import kernels
from jointkd.students.base import check_sizes
from jointkd.students.basis import GaussianBasis, PolynomialEnvelope, SphericalHarmonics, length
from jointkd.students.graph import Graph, twice
from jointkd.students.operations import ScaledSiLU, linear, triplet_graph
from jointkd.students.repulsion import repulsion_of
from jointkd.students.scales import Scale
from jointkd.students.triplets import TripletGraph, TripletSum


class Neighbourhood(NamedTuple):
    """What all blocks share: which atoms are neighbours, and functions of the vectors between them."""

    graph: Graph
    atoms: int  # N
    for_triplet: Tensor  # [P, C] radial functions for each use
    for_atom: Tensor  # [P, C]
    for_output: Tensor  # [P, C]
    circular: Tensor  # [E, C, L] radial functions by degree
    triplet_sum: TripletSum


class Dense(nn.Module):
    """A linear map without bias, by default followed by the scaled activation."""

    def __init__(self, width: int, out: int, activation: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(he_orthogonal(out, width))
        self.activation = ScaledSiLU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(linear(x, self.weight))


def he_orthogonal(out: int, width: int) -> Tensor:
    """An orthogonal matrix [out, width] whose rows have mean zero and variance 1 / width. Source: GemNet."""
    matrix = nn.init.orthogonal_(torch.empty(out, width))
    if width == 1:
        return matrix
    variance, mean = torch.var_mean(matrix, dim=1, keepdim=True)
    return (matrix - mean) / torch.sqrt((variance + 1e-6) * width)


def combined(x: Tensor, y: Tensor) -> Tensor:
    """(x + y) / √2, which keeps the variance of independent inputs; written into y to save memory."""
    return y.add_(x).div_(math.sqrt(2))


class Residual(nn.Module):
    """(x + two dense layers of x) / √2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Dense(width, width), Dense(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return combined(x, self.layers(x))


class Triplets(nn.Module):
    """The triplet interaction: what edges b→a pass to each edge c→a, and to its reverse. Source: GemNet, eq. 8."""

    def __init__(self, width: int, spherical: int) -> None:
        super().__init__()
        narrow, middle = width // 4, width // 2
        self.dense = Dense(width, width)
        self.radial = Dense(narrow, width, activation=False)
        self.scale_product = Scale()
        self.down = Dense(width, middle)
        self.bilinear = nn.Parameter(he_orthogonal(width, narrow * middle))
        self.scale_sum = Scale()
        self.up = Dense(width, width)
        self.up_reverse = Dense(width, width)

    def forward(self, m: Tensor, near: Neighbourhood) -> Tensor:
        """m [E, F] → [E, F]."""
        x = self.dense(m)
        x = self.down(self.scale_product(near.graph.times(x, self.radial(near.for_triplet)), x))
        y = self.scale_sum(linear((near.circular @ near.triplet_sum(x)).flatten(1), self.bilinear), x)
        return combined(self.up(y), near.graph.reverse(self.up_reverse(y)))


class AtomSum(nn.Module):
    """Sums messages onto atoms, through a filter of the distance, and transforms the sums."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.radial = Dense(width // 4, width, activation=False)
        self.scale = Scale()
        self.layers = nn.Sequential(Dense(width, width), Residual(width), Residual(width))

    def forward(self, m: Tensor, radial: Tensor, near: Neighbourhood) -> Tensor:
        """m [E, F], radial [P, C] → [N, F]."""
        total = near.graph.sum(near.graph.times(m, self.radial(radial)), near.atoms)
        return self.layers(self.scale(total, m))


class Concatenation(nn.Module):
    """A dense layer of an edge's source, target and own features, whose parts are multiplied before they meet."""

    def __init__(self, width: int, own: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(he_orthogonal(width, 2 * width + own))
        self.activation = ScaledSiLU()

    def forward(self, h: Tensor, own: Tensor, graph: Graph) -> Tensor:
        for_source, for_target, for_own = self.weight.split([self.width, self.width, own.shape[1]], dim=1)
        x = linear(own, for_own)
        x += (h @ for_source.T).index_select(0, graph.source)
        x += (h @ for_target.T).index_select(0, graph.target)
        return self.activation(x)


class Interaction(nn.Module):
    """One interaction block: triplets update messages, messages update atoms, atoms update messages."""

    def __init__(self, width: int, spherical: int) -> None:
        super().__init__()
        self.skip = Dense(width, width)
        self.triplets = Triplets(width, spherical)
        self.before_skip = Residual(width)
        self.after_skip = Residual(width)
        self.atoms = AtomSum(width)
        self.concat = Concatenation(width, width)
        self.residual = Residual(width)

    def forward(self, h: Tensor, m: Tensor, near: Neighbourhood) -> tuple[Tensor, Tensor]:
        """h [N, F] and m [E, F] → the same after the block."""
        x = combined(self.skip(m), self.triplets(m, near))
        m = self.after_skip(combined(m, self.before_skip(x)))
        h = (h + self.atoms(m, near.for_atom, near)) / math.sqrt(2)
        x = self.concat(h, m, near.graph)
        return h, combined(m, self.residual(x))


class Output(nn.Module):
    """Energies of atoms and, if wanted, forces along edges."""

    def __init__(self, width: int, forces: bool) -> None:
        super().__init__()
        self.atoms = AtomSum(width)
        self.energy = Dense(width, 1, activation=False)
        if forces:
            self.force_layers = nn.Sequential(Dense(width, width), Residual(width), Residual(width))
            self.force_radial = Dense(width // 4, width, activation=False)
            self.force_scale = Scale()
            self.force = Dense(width, 1, activation=False)

    def forward(self, m: Tensor, near: Neighbourhood) -> tuple[Tensor, Tensor]:
        """m [E, F] → energies [N] of atoms, and the features [N, F] from which they are read."""
        features = self.atoms(m, near.for_output, near)
        return self.energy(features)[:, 0], features

    def forces(self, m: Tensor, radial: Tensor) -> Tensor:
        """m [E, F], radial [E, C] → forces [E, 1] along edges."""
        x = self.force_layers(m)
        return self.force(self.force_scale(x * self.force_radial(radial), x))


class GemNet(nn.Module):
    """Geometric message passing network: energies of atoms, and forces from a head or as a gradient.

    width: features per atom and edge, all other sizes follow from it as in the paper's table 5; blocks: interaction
    blocks; radial: Gaussians; spherical: Legendre polynomials of the angle; cutoff: Å; conservative: GemNet-T,
    forces are -∂E/∂R, else GemNet-dT; elements: highest atomic number known; max_neighbors: see `neighbors`;
    repulsion: whether nuclei repel each other at short distances, see `Repulsion`.
    """

    def __init__(
        self,
        width: int = 64,
        blocks: int = 4,
        radial: int = 6,
        spherical: int = 7,
        cutoff: float = 5.0,
        conservative: bool = False,
        elements: int = 83,
        max_neighbors: int | None = None,
        repulsion: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "blocks": blocks, "radial": radial, "spherical": spherical}
        check_sizes(cutoff, elements, max_neighbors, least_width=4, **sizes)
        self.cutoff = cutoff
        self.max_neighbors = max_neighbors
        self.repulsion = repulsion
        self.short_range = repulsion_of(repulsion, conservative, elements)
        self.conservative = conservative
        self.elements = elements
        self.spherical = spherical
        narrow = width // 4
        self.basis = GaussianBasis(radial)
        self.envelope = PolynomialEnvelope()
        self.harmonics = SphericalHarmonics(spherical)
        self.embedding = nn.Embedding(elements, width)
        nn.init.uniform_(self.embedding.weight, -math.sqrt(3), math.sqrt(3))
        self.edge_embedding = Concatenation(width, radial)
        self.radial_triplet = Dense(radial, narrow, activation=False)
        self.radial_atom = Dense(radial, narrow, activation=False)
        self.radial_output = Dense(radial, narrow, activation=False)
        self.circular = Dense(radial, spherical * narrow, activation=False)
        self.interactions = nn.ModuleList(Interaction(width, spherical) for _ in range(blocks))
        self.outputs = nn.ModuleList(Output(width, forces=not conservative) for _ in range(blocks + 1))

    @property
    def hops(self) -> int:
        """How many edges away the atoms lie that an atom's energy depends on: two more with each block."""
        return 1 + 2 * len(self.interactions)

    def graph_of(self, structure: Structure) -> TripletGraph:
        """What the student needs of a structure's neighbour list."""
        return triplet_graph(structure, self.spherical, self.embedding.embedding_dim // 2)

    def forward(self, positions: Tensor, structure: Structure) -> Prediction:
        """positions [N, 3] Å → atomic energies [N] eV and, for GemNet-dT, forces [N, 3] eV/Å."""
        graph = self.graph_of(structure) if structure.graph is None else cast(TripletGraph, structure.graph)
        return self.from_vectors(graph.vectors(positions, structure.edge_shift), graph, structure.atomic_numbers)

    def from_vectors(self, vectors: Tensor, triplets: TripletGraph, atomic_numbers: Tensor) -> Prediction:
        """The prediction from the vectors of pairs [P, 3] Å; atomic_numbers [N]."""
        graph = triplets.graph
        distances = length(vectors, 1)
        direction = vectors / distances[:, None]
        direction = torch.cat([direction, -direction])  # [E, 3]
        x = distances / self.cutoff
        radial = self.envelope(x)[:, None] * self.basis(x)
        near = Neighbourhood(
            graph,
            atomic_numbers.shape[0],
            self.radial_triplet(radial),
            self.radial_atom(radial),
            self.radial_output(radial),
            twice(self.circular(radial).unflatten(1, (-1, self.spherical))),
            triplets.triplet_sum(self.harmonics(direction)),
        )

        h = self.embedding(atomic_numbers - 1)
        m = self.edge_embedding(h, twice(radial), graph)
        atomic_energies, features = self.outputs[0](m, near)
        messages = [m]
        for interaction, output in zip(self.interactions, self.outputs[1:], strict=True):
            h, m = interaction(h, m, near)
            energies, features = output(m, near)
            atomic_energies = atomic_energies + energies
            messages.append(m)
        if self.short_range is not None:
            atomic_energies = atomic_energies + self.short_range(vectors, graph, atomic_numbers)
        if self.conservative:
            return Prediction(atomic_energies, features=features)

        for_edges = twice(near.for_output)

        def forces_of(atoms: Tensor) -> Tensor:
            edges = graph.ending_in(atoms)
            some = [m.index_select(0, edges.edge) for m in messages]
            along = self._along_edges(some, for_edges.index_select(0, edges.edge))
            vectors = along * direction.index_select(0, edges.edge)
            return -vectors.new_zeros(len(atoms), 3).index_add(0, edges.target, vectors)

        forces = -graph.sum(self._along_edges(messages, for_edges) * direction, near.atoms)
        some_forces = forces_of if kernels.on(vectors) else None
        return Prediction(atomic_energies, forces, forces_of=some_forces, features=features)

    def _along_edges(self, messages: list[Tensor], radial: Tensor) -> Tensor:
        """Forces [E, 1] along edges from their messages [E, F] before and after each block; radial [E, C]."""
        outputs: Any = self.outputs
        return sum(output.forces(m, radial) for output, m in zip(outputs, messages, strict=True))
