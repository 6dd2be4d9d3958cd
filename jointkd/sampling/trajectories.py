"""Structures on the way from a start: along Langevin dynamics, or by random displacements that are then relaxed."""

from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.optimize import FIRE

from jointkd.errors import DataError
from jointkd.sampling.options import SamplingOptions
from jointkd.simulation.stability import STOPS, Stability
from jointkd.simulation.start import thermalize
from jointkd.structures.frame import Frame

CONVERGED = 0.05  # eV/Å, the largest force at which a relaxation ends


def dynamics(
    start: Frame, calculator: Calculator, temperature: float, options: SamplingOptions, rng: np.random.Generator
) -> Iterator[Atoms]:
    """The structures after every `interval` steps, as long as they are whole: no collisions and no fragments.

    What a student's dynamics reaches before it falls apart is what the student needs labels of. temperature: K.
    """
    atoms = movable(start, calculator)
    stability = Stability(atoms, np.inf, options.contact, {})
    thermalize(atoms, temperature, rng)
    friction = options.friction / units.fs
    integrator = Langevin(
        atoms, options.timestep * units.fs, temperature_K=temperature, friction=friction, fixcm=False, rng=rng
    )
    for _ in range(options.steps // options.interval):
        try:
            integrator.run(options.interval)
        except DataError:  # of a student, for positions that are not finite
            if np.isfinite(atoms.positions).all():
                raise
        if not is_whole(atoms, stability):
            return
        yield atoms


def rattle(
    start: Frame, calculator: Calculator, attempts: int, options: SamplingOptions, rng: np.random.Generator
) -> Iterator[Atoms]:
    """Structures with Gaussian displacements of all coordinates, each relaxed for a few steps, that are whole."""
    atoms = movable(start, calculator)
    stability = Stability(atoms, np.inf, options.contact, {})
    for _ in range(attempts):
        atoms.positions = start.positions + rng.normal(scale=options.displacement, size=start.positions.shape)
        if options.relax and is_whole(atoms, stability):
            FIRE(atoms, logfile=None).run(fmax=CONVERGED, steps=options.relax)
        if is_whole(atoms, stability):
            yield atoms


def movable(start: Frame, calculator: Calculator) -> Atoms:
    """A structure with a calculator, whose centre of mass stays where it is."""
    atoms = start.to_ase()
    atoms.set_constraint(FixCom())
    atoms.calc = calculator
    return atoms


def is_whole(atoms: Atoms, stability: Stability) -> bool:
    """Whether no atoms collide, no molecule has broken apart, and all positions are finite."""
    return not any(event.kind in STOPS["broken"] for event in stability.events(atoms))
