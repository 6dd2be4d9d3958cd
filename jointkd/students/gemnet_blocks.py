"""The blocks of GemNet: dense layers with fitted scales, the triplet interaction, and outputs."""

import math

import torch
from torch import Tensor, nn

from jointkd.students.kernels.activation import ScaledSiLU
from jointkd.students.kernels.edges import Graph, product
from jointkd.students.kernels.matrices import batched, linear
from jointkd.students.kernels.triplets import Edges
from jointkd.students.scales import Scale


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


class Residual(nn.Module):
    """(x + two dense layers of x) / √2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(Dense(width, width), Dense(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.layers(x)) / math.sqrt(2)


class Triplets(nn.Module):
    """What each edge c→a hears from the edges b→a, and its reverse. Source: GemNet, sec. 5 and 6."""

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

    def forward(self, m: Tensor, edges: Edges, radial: Tensor) -> Tensor:
        x = self.dense(m)
        x = self.down(self.scale_product(x * self.radial(radial).index_select(0, edges.graph.pair), x))
        heard = batched(edges.circular, edges.hear(x))
        y = self.scale_sum(linear(heard.flatten(1), self.bilinear), x)
        return (self.up(y) + self.up_reverse(y).index_select(0, edges.reverse)) / math.sqrt(2)


class AtomSum(nn.Module):
    """Sums messages onto atoms, through a filter of the distance, and transforms the sums."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.radial = Dense(width // 4, width, activation=False)
        self.scale = Scale()
        self.layers = nn.Sequential(Dense(width, width), Residual(width), Residual(width))

    def forward(self, m: Tensor, radial: Tensor, graph: Graph) -> Tensor:
        """m [E, F], radial [P, C] → [N, F]."""
        total = product(graph, edge=m[None], pair=self.radial(radial)[None])[0]
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
        x = (h @ for_source.T).index_select(0, graph.source) + (h @ for_target.T).index_select(0, graph.target)
        return self.activation(x + linear(own, for_own))


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

    def forward(
        self, h: Tensor, m: Tensor, edges: Edges, for_triplet: Tensor, for_atom: Tensor
    ) -> tuple[Tensor, Tensor]:
        x = (self.skip(m) + self.triplets(m, edges, for_triplet)) / math.sqrt(2)
        m = self.after_skip((m + self.before_skip(x)) / math.sqrt(2))
        h = (h + self.atoms(m, for_atom, edges.graph)) / math.sqrt(2)
        x = self.concat(h, m, edges.graph)
        return h, (m + self.residual(x)) / math.sqrt(2)


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

    def forward(self, m: Tensor, radial: Tensor, graph: Graph) -> Tensor:
        """m [E, F], radial [P, C] → energies [N] of atoms."""
        return self.energy(self.atoms(m, radial, graph))[:, 0]

    def forces(self, m: Tensor, radial: Tensor) -> Tensor:
        """m [E, F], radial [E, C] → forces [E, 1] along edges."""
        x = self.force_layers(m)
        return self.force(self.force_scale(x * self.force_radial(radial), x))
