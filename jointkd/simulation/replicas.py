"""Dynamics of several replicas at once: ASE's integrators on the atoms of all, and one call of the student a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms, FixCartesian, FixCom
from ase.constraints.constraint import FixConstraint
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from jointkd.deploy.model import Model
from jointkd.deploy.replicas import ReplicaCalculator, joined


@dataclass
class Replica:
    """A structure that moves."""

    atoms: Atoms  # with masses, momenta and constraints (FixAtoms, FixCartesian or FixCom)
    rng: np.random.Generator  # of its thermostat, so that its trajectory does not depend on the other replicas
    temperature: float  # K, of its thermostat


@dataclass(frozen=True)
class Integration:
    """How replicas are integrated."""

    ensemble: str  # nvt: Langevin; nve: velocity Verlet
    timestep: float  # fs
    friction: float = 0.01  # 1/fs, for nvt

    def integrator(self, atoms: Atoms, replicas: Sequence[Replica]) -> MolecularDynamics:
        """The integrator of the joined atoms of replicas."""
        timestep = self.timestep * units.fs
        if self.ensemble == "nve":
            return VelocityVerlet(atoms, timestep)
        of_atoms = np.repeat([each.temperature for each in replicas], [len(each.atoms) for each in replicas])
        temperature: Any = of_atoms[:, None]  # one for each atom, as ASE's documentation allows and its types do not
        return Langevin(
            atoms,
            timestep,
            temperature_K=temperature,
            friction=self.friction / units.fs,
            fixcm=False,
            rng=ReplicaRandom(replicas),
        )


class ReplicaDynamics:
    """The dynamics of replicas in one batch. After every `run` their atoms have the new positions and momenta.

    A replica whose positions or forces are not finite does not disturb the others.
    """

    def __init__(self, model: Model, replicas: Sequence[Replica], integration: Integration) -> None:
        """Raises DataError for a structure that the student cannot evaluate."""
        self.model, self.integration = model, integration
        self._take(list(replicas))

    def run(self, steps: int) -> None:
        """Make so many steps."""
        with np.errstate(invalid="ignore", over="ignore"):  # of replicas that explode
            self.dynamics.run(steps)
        momenta = self.joined.get_momenta()
        for number, replica in enumerate(self.replicas):
            place = self.calculator.evaluator.atoms_of(number)
            replica.atoms.set_positions(self.joined.positions[place], apply_constraint=False)
            replica.atoms.set_momenta(momenta[place], apply_constraint=False)

    def keep(self, kept: Sequence[bool]) -> None:
        """Go on with some of the replicas: one value for each."""
        if not all(kept):
            self._take([replica for replica, stays in zip(self.replicas, kept, strict=True) if stays])

    def forget(self) -> None:
        """Let the next step depend on positions and momenta alone, as it does where the dynamics begins."""
        self.calculator.forget()

    def potential_energies(self) -> np.ndarray:
        """[B] eV: the potential energy of each replica."""
        self.joined.get_potential_energy()
        return self.calculator.results["replica_energies"].copy()

    def forces(self) -> list[np.ndarray]:
        """The forces on each replica, [N, 3] eV/Å."""
        forces = self.joined.get_forces(apply_constraint=False)
        return [forces[self.calculator.evaluator.atoms_of(number)] for number in range(len(self.replicas))]

    def _take(self, replicas: list[Replica]) -> None:
        self.replicas = replicas
        if not replicas:
            return
        structures = [replica.atoms for replica in replicas]
        self.calculator = ReplicaCalculator(self.model, structures)
        self.joined = joined(structures)
        self.joined.set_constraint(constraints_of(structures))
        self.joined.calc = self.calculator
        self.dynamics = self.integration.integrator(self.joined, replicas)


class ReplicaRandom:
    """The random numbers of replicas, each from its own generator, as ASE's Langevin asks for them."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = replicas

    def standard_normal(self, size: tuple[int, int]) -> np.ndarray:
        """[N, 3] for all atoms."""
        numbers = np.concatenate([each.rng.standard_normal((len(each.atoms), 3)) for each in self.replicas])
        assert numbers.shape == size
        return numbers


class FixReplicaComs(FixConstraint):
    """Fixes the centre of mass of each of some runs of consecutive atoms.

    (ASE's FixSubsetCom shifts all atoms where it corrects positions, so that several of them disturb each other.)
    first [B + 1]: the first atom of each replica, and N; fixed [B]: whether its centre of mass is fixed.
    """

    def __init__(self, first: np.ndarray, fixed: np.ndarray) -> None:
        self.first, self.fixed = first, fixed

    def get_removed_dof(self, atoms: Atoms) -> int:
        """The degrees of freedom that this takes away."""
        return 3 * int(self.fixed.sum())

    def adjust_positions(self, atoms: Atoms, new: np.ndarray) -> None:
        """Move each replica so that its centre of mass stays."""
        masses = atoms.get_masses()[:, None]
        new -= self._spread(self._sum(masses * (new - atoms.positions)) / self._sum(masses))

    def adjust_momenta(self, atoms: Atoms, momenta: np.ndarray) -> None:
        """Take the velocity of its centre of mass from each replica."""
        masses = atoms.get_masses()[:, None]
        momenta -= masses * self._spread(self._sum(momenta) / self._sum(masses))

    def adjust_forces(self, atoms: Atoms, forces: np.ndarray) -> None:
        """Take from the forces what moves the centre of mass. Source: doi 10.1021/jp9722824, eqs. 3 and 7."""
        masses = atoms.get_masses()[:, None]
        forces -= masses * self._spread(self._sum(masses * forces) / self._sum(masses**2))

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """[B, …] sums over the atoms of each replica."""
        return np.add.reduceat(values, self.first[:-1])

    def _spread(self, values: np.ndarray) -> np.ndarray:
        """[N, …] the value of its replica for each atom, zero where no centre of mass is fixed."""
        return np.repeat(np.where(self.fixed[:, None], values, 0.0), np.diff(self.first), axis=0)


def constraints_of(structures: Sequence[Atoms]) -> list[FixConstraint]:
    """The constraints of several structures on their joined atoms."""
    first = np.cumsum([0, *map(len, structures)])
    fixed = np.array([any(isinstance(each, FixCom) for each in atoms.constraints) for atoms in structures])
    constraints: list[FixConstraint] = [FixReplicaComs(first, fixed)]
    for start, atoms in zip(first.tolist(), structures, strict=False):
        for constraint in atoms.constraints:
            if isinstance(constraint, FixAtoms):
                constraints.append(FixAtoms(constraint.index + start))
            elif isinstance(constraint, FixCartesian):
                constraints.append(FixCartesian(constraint.index + start, constraint.mask))
            else:
                assert isinstance(constraint, FixCom), constraint
    return constraints
