"""The blocks of GemNet: dense layers with fitted scales, the triplet interaction, and outputs."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jointkd.students.activation import ScaledSiLU


class Dense(nn.Module):
    """A linear map without bias, by default followed by the scaled activation."""

    def __init__(self, width: int, out: int, activation: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(he_orthogonal(out, width))
        self.activation = ScaledSiLU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(nn.functional.linear(x, self.weight))


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


class Scale(nn.Module):
    """A factor that gives a sum or product the variance of what went into it. Zero: not fitted yet."""

    factor: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        return x * self.factor


class Edges(NamedTuple):
    """What the triplet interactions of all blocks share. K: most edges that end in one atom; L: degrees."""

    source: Tensor  # [E]
    target: Tensor  # [E], ascending
    reverse: Tensor  # [E], the edge back
    place: Tensor  # [E], of each edge in [N * K]
    places: Tensor  # [E * L], of each edge and degree in [N * L * K]
    harmonics: Tensor  # [N * L, M, K], zero where there is no edge
    circular: Tensor  # [E, C, L], radial functions by degree
    own: Tensor  # [L], √((2l+1)/4π), what an edge hears of itself

    @classmethod
    def of(cls, structure: Any, harmonics: Tensor, circular: Tensor) -> "Edges":
        """harmonics [E, L, M]; circular [E, C * L]."""
        source, target = structure.edge_index
        total, degrees, orders = harmonics.shape
        atoms = len(structure.atomic_numbers)
        count = torch.bincount(target, minlength=atoms)
        most = int(count.max())
        slot = torch.arange(total, device=target.device) - (count.cumsum(0) - count)[target]
        place = most * target + slot
        degree = torch.arange(degrees, device=target.device)
        places = ((degrees * target)[:, None] + degree) * most + slot[:, None]
        padded = harmonics.new_zeros(atoms * most, degrees * orders).index_add(0, place, harmonics.flatten(1))
        padded = padded.view(atoms, most, -1).mT.reshape(atoms * degrees, orders, most)
        own = ((2 * degree + 1).to(circular) / (4 * math.pi)).sqrt()
        circular = circular.view(total, -1, degrees)
        return cls(source, target, structure.edge_reverse, place, places.flatten(), padded, circular, own)


class Triplets(nn.Module):
    """What each edge c→a hears from the edges b→a. Source: GemNet, eq. 8 and appendix "efficient bilinear layer"."""

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
        x = self.down(self.scale_product(x * self.radial(radial), x))
        degrees, most = len(edges.own), edges.harmonics.shape[-1]
        padded = x.new_zeros(edges.harmonics.shape[0] // degrees * most, x.shape[1]).index_add(0, edges.place, x)
        moments = edges.harmonics.view(-1, degrees * edges.harmonics.shape[1], most) @ padded.view(-1, most, x.shape[1])
        heard = edges.harmonics.mT @ moments.view(len(edges.harmonics), -1, x.shape[1])
        heard = heard.view(-1, x.shape[1]).index_select(0, edges.places).view(len(x), degrees, -1)
        heard = edges.circular @ torch.addcmul(heard, edges.own[:, None], x[:, None], value=-1)
        y = self.scale_sum(nn.functional.linear(heard.view(len(x), -1), self.bilinear), x)
        return (self.up(y) + self.up_reverse(y).index_select(0, edges.reverse)) / math.sqrt(2)


class AtomSum(nn.Module):
    """Sums messages onto atoms, through a filter of the distance, and transforms the sums."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.radial = Dense(width // 4, width, activation=False)
        self.scale = Scale()
        self.layers = nn.Sequential(Dense(width, width), Residual(width), Residual(width))

    def forward(self, h: Tensor, m: Tensor, radial: Tensor, target: Tensor) -> Tensor:
        total = torch.zeros_like(h).index_add(0, target, m * self.radial(radial))
        return self.layers(self.scale(total, m))


class Concatenation(nn.Module):
    """A dense layer of an edge's source, target and own features, whose parts are multiplied before they meet."""

    def __init__(self, width: int, own: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(he_orthogonal(width, 2 * width + own))
        self.activation = ScaledSiLU()

    def forward(self, h: Tensor, own: Tensor, source: Tensor, target: Tensor) -> Tensor:
        for_source, for_target, for_own = self.weight.split([self.width, self.width, own.shape[1]], dim=1)
        x = (h @ for_source.T).index_select(0, source) + (h @ for_target.T).index_select(0, target)
        return self.activation(torch.addmm(x, own, for_own.T))


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

    def forward(self, h: Tensor, m: Tensor, edges: Edges, for_triplet: Tensor, for_atom: Tensor) -> tuple[Tensor, Tensor]:
        x = (self.skip(m) + self.triplets(m, edges, for_triplet)) / math.sqrt(2)
        m = self.after_skip((m + self.before_skip(x)) / math.sqrt(2))
        h = (h + self.atoms(h, m, for_atom, edges.target)) / math.sqrt(2)
        x = self.concat(h, m, edges.source, edges.target)
        return h, (m + self.residual(x)) / math.sqrt(2)


class Output(nn.Module):
    """Energies [N] of atoms and, if wanted, forces [E, 1] along edges."""

    def __init__(self, width: int, forces: bool) -> None:
        super().__init__()
        self.atoms = AtomSum(width)
        self.energy = Dense(width, 1, activation=False)
        self.force_layers = None
        if forces:
            self.force_layers = nn.Sequential(Dense(width, width), Residual(width), Residual(width))
            self.force_radial = Dense(width // 4, width, activation=False)
            self.force_scale = Scale()
            self.force = Dense(width, 1, activation=False)

    def forward(self, h: Tensor, m: Tensor, radial: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        energies = self.energy(self.atoms(h, m, radial, target))[:, 0]
        if self.force_layers is None:
            return energies, None
        x = self.force_layers(m)
        return energies, self.force(self.force_scale(x * self.force_radial(radial), x))
