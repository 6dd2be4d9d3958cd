"""A molecule with one dihedral, and calculators whose energy along it is known."""

from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes

PEROXIDE = molecule("H2O2")
DIHEDRAL = (2, 0, 1, 3)  # H–O–O–H


def angle_of(positions: torch.Tensor, atoms: tuple[int, ...] = DIHEDRAL) -> torch.Tensor:
    """The dihedral of four atoms in radians, differentiable."""
    i, j, k, l = (positions[atom] for atom in atoms)  # noqa: E741
    axis = (k - j) / (k - j).norm()
    first, second = (vector - (vector @ axis) * axis for vector in (i - j, l - k))
    return torch.atan2(torch.linalg.cross(axis, first) @ second, first @ second)


class Torsion(Calculator):
    """E = Σ_n V_n (1 + cos(nφ − δ_n)) / 2 in eV, and springs that hold the bonds and angles of hydrogen peroxide.

    terms: (V in eV, n, δ in degrees); stretch: by how much (Å) the springs' lengths depend on the angle.
    """

    implemented_properties: ClassVar = ["energy", "free_energy", "energies", "forces"]

    def __init__(self, *terms: tuple[float, int, float], stretch: float = 0.0, constant: float = 0.0) -> None:
        super().__init__()
        self.terms, self.stretch, self.constant = terms, stretch, constant

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        positions = torch.tensor(self.atoms.positions, requires_grad=True)
        angle = angle_of(positions)
        energy = sum((v / 2 * (1 + torch.cos(n * angle - np.radians(shift))) for v, n, shift in self.terms), 0 * angle)
        for pair in ((0, 1), (0, 2), (1, 3), (1, 2), (0, 3)):
            first, second = pair
            rest = PEROXIDE.get_distance(*pair) + self.stretch * torch.cos(angle)
            energy = energy + 10.0 * ((positions[first] - positions[second]).norm() - rest) ** 2
        (gradient,) = torch.autograd.grad(energy, positions)
        total = float(energy.detach()) + self.constant
        self.results = {
            "energy": total,
            "free_energy": total,
            "forces": -gradient.numpy(),
            "energies": np.full(4, total / 4),
        }


def at_angle(degrees: float) -> Atoms:
    """Hydrogen peroxide with a dihedral."""
    atoms = PEROXIDE.copy()
    atoms.set_dihedral(*DIHEDRAL, degrees, indices=[3])
    return atoms


class TwoFold(Torsion):
    """A teacher without arguments: a barrier of 300 meV at 0° and 180°."""

    def __init__(self) -> None:
        super().__init__((0.3, 2, 0.0))


class Ionic(TwoFold):
    """`TwoFold` whose energies and forces grow with the charge: (1 + charge) times as large."""

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        scale = 1 + round(self.atoms.get_initial_charges().sum())
        self.results = {name: scale * value for name, value in self.results.items()}
