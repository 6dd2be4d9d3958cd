"""What an edge of GemNet hears from the other edges that end in its atom, without a list of triplets.

By the addition theorem √((2l+1)/4π) P_l(u·v) = Σ_m Y_lm(u) Y_lm(v): the edges of an atom are summed with their
spherical harmonics (its moments), and each edge reads the sums with its own. Atoms are taken in groups of like numbers
of edges, so that what is padded to the largest number of a group holds little else than edges.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from jointkd.students.kernels.edges import Graph
from jointkd.students.kernels.matrices import Batches, Lay, onto

GROUP = {"cpu": 128}  # atoms; elsewhere all of them


class Group(NamedTuple):
    """Some atoms and the K places that each has for its edges."""

    atom: int  # the first, of all N in the order of their numbers of edges
    atoms: int
    place: int  # the first, of all S
    places: int  # of each atom, K

    @property
    def stop(self) -> int:
        """The place behind its last."""
        return self.place + self.atoms * self.places


class Edges(NamedTuple):
    """What the triplet interactions of all blocks share. S: places for edges; L: degrees; E edges, F features."""

    graph: Graph
    reverse: Tensor  # [E], the edge back
    place: Tensor  # [E], of each edge in S
    places: Tensor  # [E * L], of each edge and degree in S * L: by group, degree, atom
    harmonics: Tensor  # [S * L²], of each group [atoms, L², K]; zero where there is no edge
    circular: Tensor  # [E, C, L], radial functions by degree
    own: Tensor  # [L], √((2l+1)/4π), what an edge hears of itself
    sums: Batches  # harmonics, features [S, F] → moments [N, L², F]
    reads: Batches  # harmonics, moments → features by degree [S * L, F]

    @classmethod
    def of(cls, graph: Graph, reverse: Tensor, harmonics: Tensor, circular: Tensor, width: int) -> "Edges":
        """harmonics [E, L²]; circular [E, C, L]; width: F."""
        target, degrees, device = graph.target, circular.shape[2], graph.target.device
        count = torch.bincount(target, minlength=graph.sizes["target"])
        order = count.argsort()
        groups = grouped(count[order].tolist(), GROUP.get(device.type, len(count)))
        table = torch.tensor(groups, device=device)
        rank = order.argsort()[target]
        atom, atoms, first, most = table.repeat_interleave(table[:, 1], dim=0)[rank].T
        slot = torch.arange(len(target), device=device) - (count.cumsum(0) - count)[target]
        within = (rank - atom) * most + slot
        place = first + within
        degree = torch.arange(degrees, device=device)
        places = (degrees * first + within)[:, None] + degree * (atoms * most)[:, None]

        sums, reads = sums_and_reads(groups, degrees, width)
        padded = harmonics.new_zeros(sums.shapes["b"][0], degrees**2).index_add(0, place, harmonics)
        by_group = [padded[g.place : g.stop].view(g.atoms, g.places, -1).mT.flatten() for g in groups]
        own = ((2 * degree + 1).to(harmonics) / (4 * math.pi)).sqrt()
        return cls(graph, reverse, place, places.flatten(), torch.cat(by_group), circular, own, sums, reads)

    def hear(self, x: Tensor) -> Tensor:
        """Σ_b √((2l+1)/4π) P_l(cos of the angle cab) x_ba for every edge c→a, over b ≠ c: [E, F] → [E, L, F].

        Each edge reads the moments of its atom and takes away what it put in, which is no place for a lower precision.
        """
        x = x.to(self.harmonics.dtype)
        padded = x.new_zeros(self.sums.shapes["b"]).index_add(0, self.place, x)
        moments = onto("c", (self.harmonics, padded, None), self.sums)
        read = onto("b", (self.harmonics, None, moments), self.reads)
        heard = read.index_select(0, self.places).view(len(x), len(self.own), x.shape[1])
        return torch.addcmul(heard, self.own[:, None], x[:, None], value=-1)


def grouped(counts: list[int], size: int) -> list[Group]:
    """Groups of at most `size` atoms, of their ascending numbers of edges."""
    groups: list[Group] = []
    for atom in range(0, len(counts), size):
        of_group = counts[atom : atom + size]
        groups.append(Group(atom, len(of_group), groups[-1].stop if groups else 0, max(1, of_group[-1])))
    return groups


def sums_and_reads(groups: list[Group], degrees: int, width: int) -> tuple[Batches, Batches]:
    """Where harmonics (a), what is on places (b) and moments (c) lie, for all degrees at once and for each."""
    atoms, places = groups[-1].atom + groups[-1].atoms, groups[-1].stop
    sums: list[dict[str, Lay]] = []
    reads: list[dict[str, Lay]] = []
    for first, n, place, k in groups:
        for_b = (n, k, width), (k * width, width, 1)
        sums.append(
            {
                "a": ((n, degrees**2, k), (degrees**2 * k, k, 1), degrees**2 * place),
                "b": (*for_b, width * place),
                "c": ((n, degrees**2, width), (degrees**2 * width, width, 1), degrees**2 * width * first),
            }
        )
        (_, stride_a, offset_a), (_, stride_c, offset_c) = sums[-1]["a"], sums[-1]["c"]
        for degree in range(degrees):
            orders = 2 * degree + 1
            reads.append(
                {
                    "a": ((n, orders, k), stride_a, offset_a + degree**2 * k),
                    "b": (*for_b, width * (degrees * place + degree * n * k)),
                    "c": ((n, orders, width), stride_c, offset_c + degree**2 * width),
                }
            )
    shapes = {"a": (places * degrees**2,), "b": (places, width), "c": (atoms, degrees**2, width)}
    return Batches(shapes, sums), Batches({**shapes, "b": (places * degrees, width)}, reads)
