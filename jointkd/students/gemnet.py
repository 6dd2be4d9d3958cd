"""GemNet-dT and GemNet-T (Gasteiger, Becker and Günnemann, NeurIPS 2021), as the paper distils into them.

Messages m [E, F] live on directed edges, features h [N, F] on atoms. Each interaction block lets an edge c→a hear
the other edges b→a that end where it does, through their distances and the angle between them (eq. 8 without
quadruplets), and passes on to the atoms; an output block after each reads energies off the atoms and, in GemNet-dT,
forces off the edges. GemNet-T has no force head: its forces are the energy's gradient.

No list of triplets is made: Legendre polynomials of the angle factor into spherical harmonics of the two edges
(the addition theorem), so each atom sums its edges once and every edge reads from that sum. There is no angle to
clamp and nothing is singular, also for collinear or coincident directions.
"""

import math
from typing import Any

from torch import Tensor, nn

from jointkd.structures.batch import Prediction
from jointkd.students.basis import GaussianBasis, PolynomialEnvelope, length, spherical_harmonics
from jointkd.students.gemnet_blocks import Concatenation, Dense, Interaction, Output
from jointkd.students.kernels.edges import Graph, ending_in, product
from jointkd.students.kernels.triplets import Edges


class GemNet(nn.Module):
    """Geometric message passing network: energies of atoms, and forces from a head or as a gradient.

    width: features per atom and edge, all other sizes follow from it as in the paper's table 5; blocks: interaction
    blocks; radial: Gaussians; spherical: Legendre polynomials of the angle; cutoff: Å; conservative: GemNet-T,
    forces are -∂E/∂R, else GemNet-dT; elements: highest atomic number known; max_neighbors: see `neighbors`.
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
    ) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.max_neighbors = max_neighbors
        self.conservative = conservative
        self.elements = elements
        self.spherical = spherical
        narrow = width // 4
        self.basis = GaussianBasis(radial)
        self.envelope = PolynomialEnvelope()
        self.embedding = nn.Embedding(elements, width)
        nn.init.uniform_(self.embedding.weight, -math.sqrt(3), math.sqrt(3))
        self.edge_embedding = Concatenation(width, radial)
        self.radial_triplet = Dense(radial, narrow, activation=False)
        self.radial_atom = Dense(radial, narrow, activation=False)
        self.radial_output = Dense(radial, narrow, activation=False)
        self.circular = Dense(radial, spherical * narrow, activation=False)
        self.interactions = nn.ModuleList(Interaction(width, spherical) for _ in range(blocks))
        self.outputs = nn.ModuleList(Output(width, forces=not conservative) for _ in range(blocks + 1))

    def forward(self, positions: Tensor, structure: Any) -> Prediction:
        """positions [N, 3] Å → atomic energies [N] eV and, for GemNet-dT, forces [N, 3] eV/Å."""
        graph = Graph.of(structure, len(positions))
        vectors = graph.edge_vectors(positions)
        distances = length(vectors, 1)
        direction = vectors / distances[:, None]
        x = distances.index_select(0, graph.first) / self.cutoff
        radial = self.envelope(x)[:, None] * self.basis(x)
        for_triplet, for_atom, for_output, circular = (
            project(radial) for project in (self.radial_triplet, self.radial_atom, self.radial_output, self.circular)
        )
        harmonics = spherical_harmonics(direction, self.spherical)
        circular = circular.unflatten(1, (-1, self.spherical)).index_select(0, graph.pair)
        edges = Edges.of(graph, structure.edge_reverse, harmonics, circular, self.embedding.embedding_dim // 2)

        h = self.embedding(structure.atomic_numbers - 1)
        m = self.edge_embedding(h, radial.index_select(0, graph.pair), graph)
        atomic_energies = self.outputs[0](m, for_output, graph)
        messages = [m]
        for interaction, output in zip(self.interactions, self.outputs[1:], strict=True):
            h, m = interaction(h, m, edges, for_triplet, for_atom)
            atomic_energies = atomic_energies + output(m, for_output, graph)
            messages.append(m)
        if self.conservative:
            return Prediction(atomic_energies)

        for_edges = for_output.index_select(0, graph.pair)

        def forces_of(atoms: Tensor) -> Tensor:
            target, edge = ending_in(atoms, graph.target)
            along = self._along_edges([m.index_select(0, edge) for m in messages], for_edges.index_select(0, edge))
            vectors = along * direction.index_select(0, edge)
            return -vectors.new_zeros(len(atoms), 3).index_add(0, target, vectors)

        along = self._along_edges(messages, for_edges)
        return Prediction(atomic_energies, -product(graph, edge=(along * direction)[None])[0], forces_of=forces_of)

    def _along_edges(self, messages: list[Tensor], radial: Tensor) -> Tensor:
        """Forces [E, 1] along edges from their messages [E, F] before and after each block; radial [E, C]."""
        outputs: Any = self.outputs
        return sum(output.forces(m, radial) for output, m in zip(outputs, messages, strict=True))
