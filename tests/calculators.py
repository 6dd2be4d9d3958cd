"""ASE calculators for tests of teachers."""

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from omegaconf import OmegaConf
from vesin import NeighborList

from jointkd.cli.config_tree import CONF
from jointkd.teachers.ase import difference_rows


class Springs(Calculator):
    """A spring k |r - r'|² / 2 between every pair of atoms, with a known Hessian and without atomic energies."""

    implemented_properties: ClassVar = ["energy", "forces"]
    stiffness = 3.0
    bad = 0  # atomic number on which it fails

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.bad in self.atoms.numbers:
            raise RuntimeError(f"no convergence\nwith {self.bad}")
        apart = self.atoms.positions[:, None] - self.atoms.positions
        self.results = {"energy": self.stiffness * (apart**2).sum() / 4, "forces": -self.stiffness * apart.sum(1)}


class FailsOnOxygen(Springs):
    bad = 8


class NeverWorks(Springs):
    def calculate(self, *_args, **_kwargs):
        raise RuntimeError("no licence file")


class AtomicOnRequest(Springs):
    """Energies of atoms only where they are asked for, as from CHGNet; made by a class method too."""

    implemented_properties: ClassVar = ["energy", "energies", "forces"]

    def __init__(self, return_site_energies: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.return_site_energies = return_site_energies

    @classmethod
    def made(cls, **options: Any) -> "AtomicOnRequest":
        return cls(**options)

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        if self.return_site_energies:
            apart = self.atoms.positions[:, None] - self.atoms.positions
            self.results["energies"] = self.stiffness * (apart**2).sum((1, 2)) / 4


class Smeared(Springs):
    """Its forces belong to `free_energy`, as those of density functional theory with smeared occupations do."""

    implemented_properties: ClassVar = ["energy", "free_energy", "forces"]

    def calculate(self, *arguments: Any, **options: Any) -> None:
        super().calculate(*arguments, **options)
        self.results["free_energy"] = self.results["energy"]
        self.results["energy"] = 0.9 * self.results["energy"]


class WithoutForces(Calculator):
    implemented_properties: ClassVar = ["energy"]


class Metal(Calculator):
    """A Morse potential of pairs within 5 Å, whose energies and lengths are multiplied by factors."""

    def __init__(self, energy: float = 1.0, length: float = 1.0) -> None:
        super().__init__()
        self.energy, self.length = energy, length
        self.implemented_properties = ["energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        cutoff = 5.0 * self.length
        search = NeighborList(cutoff=cutoff, full_list=True)
        first, _, apart, vectors = search.compute(self.atoms.positions, self.atoms.cell.array, True, "ijdD")
        well, inner = np.exp(-1.5 * (apart / self.length - 2.7)), 1 - (apart / cutoff) ** 2
        pair, slope = well**2 - 2 * well, -3 / self.length * (well**2 - well)
        slope = slope * inner**3 - pair * inner**2 * 6 * apart / cutoff**2
        pulls = 0.2 * self.energy * (slope / apart)[:, None] * vectors  # [P, 3] eV/Å, of each pair in both directions
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, first, pulls)
        virial = vectors.T @ pulls / 2
        self.results = {
            "energy": 0.1 * self.energy * (pair * inner**3).sum(),
            "forces": forces,
            "stress": full_3x3_to_voigt_6_stress(virial / self.atoms.get_volume()),
        }

    def get_hessian(self, atoms: Atoms, rows: list[int]) -> np.ndarray:
        copy = atoms.copy()
        copy.calc = Metal(self.energy, self.length)
        return rows_of(copy, rows)


def rows_of(atoms: Atoms, rows: list[int]) -> np.ndarray:
    """[K, 3N] eV/Å²: rows of the Hessian of a structure with a calculator, by differences of its forces."""
    return difference_rows(atoms, np.array(rows), 2e-3).reshape(len(rows), -1)


def options_of(name: str) -> dict:
    """The options of the teacher `name` (xtb or ase) in the configuration, as arguments of `from_calculator`."""
    base, own = (OmegaConf.load(CONF / "teacher" / f"{file}.yaml") for file in ("ase", name))
    merged = OmegaConf.to_container(OmegaConf.merge(base, own))
    return {key: value for key, value in merged.items() if key not in ("defaults", "_target_", "_convert_", "python")}
