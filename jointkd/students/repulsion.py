"""The repulsion of nuclei at short distances, where no data teach a student not to let atoms collapse."""

from collections.abc import Mapping

import torch
from ase import units
from ase.data import chemical_symbols, covalent_radii
from torch import Tensor, nn

from jointkd.errors import ConfigError
from jointkd.students.basis import PolynomialEnvelope, length
from jointkd.students.graph import PairGraph

REACH = 0.75  # of the sum of the covalent radii; the shortest bonds, as in N2, C2H2 and CO, are longer
MARGIN = 0.9  # of the shortest distance in the training structures, within which the repulsion acts once it is fitted
COULOMB = units.Hartree * units.Bohr  # e²/4πε₀, eV Å
SCREENING = 0.8854 * units.Bohr  # Å
CORE = 0.02  # Å: distances are √(r² + CORE²), so that coincident atoms have finite forces
EXPONENT = 0.23
TERMS = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))


class Repulsion(nn.Module):
    """The universal potential of Ziegler, Biersack and Littmark, smoothly switched off at a distance for each pair.

    V(r) = Z_i Z_j e² / (4πε₀ r) φ(r / a), a = 0.8854 a₀ / (Z_i^0.23 + Z_j^0.23), times an envelope that vanishes with
    its first two derivatives at `reach`: REACH times the sum of the covalent radii or, once it is fitted (`fit_reach`),
    MARGIN times the shortest distance of the two elements in the training structures. It is part of the energy of a
    student, so that the rest of it learns what is left of the targets: at the distances of its training, all of them.
    Source: Ziegler, Biersack, Littmark, The Stopping and Range of Ions in Matter (1985).
    """

    charge: Tensor  # [elements] of the nuclei, e
    reach: Tensor  # [elements, elements] Å

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements = elements
        self.register_buffer("charge", torch.arange(1.0, elements + 1), persistent=False)
        radius = torch.tensor(covalent_radii[1 : elements + 1]).to(self.charge)
        self.register_buffer("reach", REACH * (radius[:, None] + radius))
        self.envelope = PolynomialEnvelope()

    def forward(self, vectors: Tensor, graph: PairGraph, atomic_numbers: Tensor) -> Tensor:
        """[N] eV: half of the repulsion of each pair for either atom. vectors [P, 3] Å of pairs; atomic_numbers [N]."""
        first, second = (atomic_numbers.index_select(0, end) - 1 for end in graph.ends())
        z1, z2 = self.charge.index_select(0, first), self.charge.index_select(0, second)
        reach = self.reach.flatten().index_select(0, first * self.elements + second)
        distances = length(vectors, 1, CORE)
        scaled = distances * (z1**EXPONENT + z2**EXPONENT) / SCREENING
        screened = sum(weight * torch.exp(-rate * scaled) for weight, rate in TERMS)
        energies = COULOMB * z1 * z2 / distances * screened * self.envelope(distances / reach)
        return graph.aggregate(energies[:, None] / 2, vectors.new_ones(1, atomic_numbers.shape[0], 1))[0, :, 0]


def fit_reach(student: nn.Module, shortest: Mapping[tuple[int, int], float], only_shorten: bool = False) -> str:
    """Let the repulsion of a student act below the distances of its training structures, and say where; else "".

    shortest: Å, by two atomic numbers; other pairs keep what they have. only_shorten: for a student that was trained
    before, whose other weights know the repulsion that it has.
    """
    said = []
    for module in student.modules():
        if not isinstance(module, Repulsion):
            continue
        for (first, second), distance in shortest.items():
            before = float(module.reach[first - 1, second - 1])
            reach = min(before, MARGIN * distance) if only_shorten else MARGIN * distance
            module.reach[first - 1, second - 1] = module.reach[second - 1, first - 1] = reach
            said.append(f"{chemical_symbols[first]}–{chemical_symbols[second]} {reach:.2f}")
    return ", ".join(said)


def repulsion_of(asked: bool, conservative: bool, elements: int) -> Repulsion | None:
    """The repulsion of a student if it is asked for. Raises ConfigError for a student with a force head."""
    if asked and not conservative:
        raise ConfigError(
            "student.repulsion=true is an energy, and student.conservative=false predicts forces without one",
            "set student.conservative=true, or student.repulsion=false",
        )
    return Repulsion(elements) if asked else None
