"""A student in OpenMM: `MLPotential("jointkd", modelPath="student.safetensors")` of openmm-ml."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit
from openmmml.mlpotential import MLPotentialImpl

from jointkd.deploy.force_field import ForceField
from jointkd.errors import ConfigError, DataError
from jointkd.trust import Consent

EV = 1 * unit.elementary_charge * unit.volt * unit.AVOGADRO_CONSTANT_NA
ENERGY = EV.value_in_unit(unit.kilojoule_per_mole)
FORCE = (EV / unit.angstrom).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)


class Potential(MLPotentialImpl):
    """A student as a potential of openmm-ml.

    modelPath: the folder of a finished run, a student's file or a package; device, dtype, trust: as for `JointKD`.
    Raises ConfigError for other options, or without a student.
    """

    def __init__(
        self,
        modelPath: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        trust: Consent = None,
        **others: Any,
    ) -> None:
        if others:
            raise ConfigError(f"MLPotential does not know {next(iter(others))}", "give modelPath, device, dtype, trust")
        if modelPath is None:
            raise ConfigError("MLPotential('jointkd') has no student", "give modelPath='student.safetensors'")
        self.student = str(Path(modelPath).absolute()), device, dtype, trust

    def addForces(
        self,
        topology: app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        **others: Any,
    ) -> None:
        """Add a PythonForce on the atoms, or on all; `MLPotential.createSystem` calls this.

        Raises ConfigError for other options, and DataError for particles without an element or of one on which the
        student was not trained.
        """
        if others:
            raise ConfigError(
                f"createSystem does not know {next(iter(others))}", "give device, dtype and trust to MLPotential"
            )
        particles = list(topology.atoms())
        chosen = list(range(len(particles)) if atoms is None else atoms)
        numbers = np.array([number_of(particles[index]) for index in chosen])
        periodic = topology.getPeriodicBoxVectors() is not None or system.usesPeriodicBoundaryConditions()
        force = openmm.PythonForce(Computation(self.student, numbers, periodic))
        force.setForceGroup(forceGroup)
        force.setUsesPeriodicBoundaryConditions(periodic)
        if atoms is not None:
            force.setParticles(chosen)
        system.addForce(force)


def number_of(atom: app.topology.Atom) -> int:
    """The atomic number of an atom of a topology. Raises DataError where it has none, as a virtual site."""
    if atom.element is None:
        raise DataError(f"atom {atom.index} ({atom.name}) of the topology has no element", "leave virtual sites out")
    return int(atom.element.atomic_number)


class Computation:
    """What a PythonForce calls. student: the arguments of `ForceField`, by which it is pickled with a system."""

    def __init__(self, student: tuple[Any, ...], numbers: np.ndarray, periodic: bool) -> None:
        self.student, self.numbers, self.pbc = student, numbers, np.full(3, periodic)
        self.force_field = ForceField(*student)
        self.force_field.check(numbers)

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Energy (kJ/mol) and forces [N, 3] (kJ/mol/nm) of a state."""
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        cell = np.zeros((3, 3))
        if self.pbc.any():
            cell = np.array(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom))
        results = self.force_field(self.numbers, np.asarray(positions), cell, self.pbc)
        return ENERGY * float(results.atomic_energies.sum()), FORCE * results.forces

    def __reduce__(self) -> tuple[Any, ...]:
        return Computation, (self.student, self.numbers, bool(self.pbc.any()))
