"""Is the energy conserved? Dynamics without a thermostat."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from jointkd.acceptance.gate import Gate, at_most
from jointkd.acceptance.options import ConservationLimits
from jointkd.acceptance.stability import replicas_of, steps_of
from jointkd.deploy.model import Model
from jointkd.progress import Progress
from jointkd.simulation.replicas import Integration, ReplicaDynamics

CHECKS = 100  # of the energies
EQUILIBRATION = 0.1  # of the time, which is not looked at: potential energy becomes kinetic energy


class Conservation(NamedTuple):
    """The gates of the drift, and what it was measured from."""

    gates: list[Gate]
    times: np.ndarray  # [T] ps
    totals: np.ndarray  # [T, B] eV/atom, since the beginning


def conservation(model: Model, structures: Sequence[Atoms], limits: ConservationLimits, seed: int) -> Conservation:
    """The drift of the total energy, which is the slope of a straight line through it.

    Over the whole time it is compared with the standard deviation of the kinetic energy (1: as large as that), and per
    atom and time it is what is usually quoted; the largest of all replicas counts. Source: ml-peg#851.
    """
    replicas = replicas_of(structures, limits.replicas, limits.temperature, seed)
    dynamics = ReplicaDynamics(model, replicas, Integration("nve", limits.timestep))
    steps = steps_of(limits.time, limits.timestep)
    dynamics.run(round(EQUILIBRATION * steps))
    every = max(1, steps // CHECKS)
    lines, checks = [energies_of(dynamics)], steps // every
    with Progress("constant energy", 0, checks, "check") as progress:
        while len(lines) <= checks:
            dynamics.run(every)
            lines.append(energies_of(dynamics))
            progress.show(len(lines) - 1, lambda: f"constant energy: {len(lines) - 1} of {checks} checks")
    kinetic, total = np.moveaxis(np.array(lines), 1, 0)
    times = every * limits.timestep / 1000 * np.arange(len(lines))
    sizes = np.array([len(replica.atoms) for replica in replicas])
    slopes = slope(times, total)  # eV/ps
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.abs(slopes) * times[-1] / kinetic.std(axis=0)
    rates = 1000 * np.abs(slopes) / sizes
    said = (
        f"largest of {len(replicas)} replicas, {limits.time:g} ps at {limits.timestep:g} fs, {limits.temperature:g} K"
    )
    gates = [
        at_most("energy drift", ratios.max(), limits.drift, "of the spread of the kinetic energy", said),
        at_most(
            "energy drift per atom", rates.max(), limits.rate, "meV/atom/ps", f"{said}; median {np.median(rates):.3g}"
        ),
    ]
    return Conservation(gates, times, (total - total[0]) / sizes)


def energies_of(dynamics: ReplicaDynamics) -> tuple[np.ndarray, np.ndarray]:
    """Kinetic and total energies of the replicas, [B] eV."""
    kinetic = np.array([replica.atoms.get_kinetic_energy() for replica in dynamics.replicas])
    return kinetic, kinetic + dynamics.potential_energies()


def slope(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[B] the slope of the straight line of least squares through values [T, B] at times [T]."""
    centred = times - times.mean()
    return centred @ (values - values.mean(axis=0)) / (centred @ centred)
