"""ASE calculators for tests of teachers."""

from typing import Any, ClassVar

from ase.calculators.calculator import Calculator, all_changes
from omegaconf import OmegaConf

from jointkd.cli.config_tree import CONF


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


def options_of(name: str) -> dict:
    """The options of the teacher `name` (xtb or ase) in the configuration, as arguments of `from_calculator`."""
    base, own = (OmegaConf.load(CONF / "teacher" / f"{file}.yaml") for file in ("ase", name))
    merged = OmegaConf.to_container(OmegaConf.merge(base, own))
    return {key: value for key, value in merged.items() if key not in ("defaults", "_target_", "_convert_", "python")}
