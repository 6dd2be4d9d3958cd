"""How the total energy of a student drifts without a thermostat."""

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from jointkd.deploy.model_card import Drift
from jointkd.simulation.start import thermalize

STEPS = 200
TIMESTEP = 0.5  # fs
TEMPERATURE = 300.0  # K, at the start


def energy_drift(atoms: Atoms, steps: int = STEPS) -> Drift:
    """The slope of a straight line through the total energies of velocity Verlet. atoms: with a calculator.

    Raises DataError where positions cease to be finite.
    """
    thermalize(atoms, TEMPERATURE, np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, TIMESTEP * units.fs)
    energies: list[float] = []
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()))
    dynamics.run(steps)
    times = 1e-3 * TIMESTEP * np.arange(len(energies))  # ps
    slope = np.polyfit(times, np.array(energies) - energies[0], 1)[0]
    return Drift(1e3 * slope / len(atoms), float(times[-1]), TEMPERATURE, atoms.get_chemical_formula())
