"""Do structures stay whole? Langevin dynamics of replicas, and the frames that these visit."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from jointkd.acceptance.gate import Gate, at_most
from jointkd.acceptance.options import StabilityLimits
from jointkd.deploy.model import Model
from jointkd.progress import Progress
from jointkd.simulation.lifetimes import Watch, Watched
from jointkd.simulation.replicas import Integration, Replica, ReplicaDynamics
from jointkd.simulation.stability import DEVIATION, REARRANGEMENT, STOPS, Stability
from jointkd.simulation.start import thermalize

log = logging.getLogger(__name__)

NUMBER = "structure"  # entry of a structure's info with its number among those that it was drawn from
VISITS = 4  # times at which frames are taken of each replica
SHOWN = 3  # broken replicas that the detail names


class Trajectories(NamedTuple):
    """What came of replicas at one temperature."""

    gate: Gate
    visited: list[Atoms]  # frames of replicas that were whole
    watched: list[Watched]


def stability(
    model: Model, structures: Sequence[Atoms], lengths: Mapping[str, float], limits: StabilityLimits, seed: int
) -> list[Trajectories]:
    """The gate of each temperature. lengths: of bonds in equilibrium, Å, by kind (`known_lengths`)."""
    return [at_temperature(model, structures, lengths, limits, kelvin, seed) for kelvin in limits.temperatures]


def at_temperature(
    model: Model,
    structures: Sequence[Atoms],
    lengths: Mapping[str, float],
    limits: StabilityLimits,
    kelvin: float,
    seed: int,
) -> Trajectories:
    """The fraction of replicas of which two atoms collapse, or which fall apart, at a temperature (K)."""
    watched = []
    for number, replica in enumerate(replicas_of(structures, limits.replicas, kelvin, seed)):
        stable = Stability(replica.atoms, limits.bond_tolerance, limits.contact, lengths, limits.shortest)
        place = number % len(structures)
        watched.append(Watched(structures[place].info.get(NUMBER, place), number, replica, stable))
    integration = Integration("nvt", limits.timestep, limits.friction)
    dynamics = ReplicaDynamics(model, [each.replica for each in watched], integration)
    watch, steps = Watch(dynamics, watched, limits.interval, "broken"), steps_of(limits.time, limits.timestep)
    visited: list[Atoms] = []
    with Progress(f"{kelvin:g} K", 0, steps, "step") as progress:
        for part in range(1, VISITS + 1):
            watch.run(
                part * steps // VISITS,
                lambda: progress.show(
                    watch.step, lambda: f"{kelvin:g} K: {watch.time:.3g} ps, {len(watch.moving)} of {len(watched)} move"
                ),
            )
            visited += [each.replica.atoms.copy() for each in watch.moving]
    broken = [each for each in watched if not each.alive]
    gate = at_most(
        f"stability at {kelvin:g} K",
        len(broken) / len(watched),
        limits.broken,
        "of replicas",
        detail(watched, limits.time),
    )
    return Trajectories(gate, visited, watched)


def replicas_of(structures: Sequence[Atoms], count: int, kelvin: float, seed: int) -> list[Replica]:
    """So many replicas of the structures in turn, with random momenta."""
    replicas = []
    for number in range(count):
        atoms, rng = structures[number % len(structures)].copy(), np.random.default_rng([seed, number])
        thermalize(atoms, kelvin, rng)
        replicas.append(Replica(atoms, rng, kelvin))
    return replicas


def steps_of(time: float, timestep: float) -> int:
    """The number of steps of a timestep (fs) in a time (ps)."""
    return max(1, round(1000 * time / timestep))


def detail(watched: Sequence[Watched], time: float) -> str:
    """How many replicas broke, the first of them, and how many had bonds that deviated or rearranged."""
    ends = [(found[1], each.structure, found[0]) for each in watched if (found := each.first(STOPS["broken"]))]
    ends.sort(key=lambda end: end[0])
    broken = sum(not each.alive for each in watched)
    text = f"{broken} of {len(watched)} replicas broke within {time:g} ps"
    for moment, structure, event in ends[:SHOWN]:
        text += f"; structure {structure} after {moment:.3f} ps: {event.kind}, {event.description}"
    if len(ends) > SHOWN:
        text += "; …"
    mild = Counter(kind for each in watched for kind in {event.kind for event in each.events})
    for kind in (DEVIATION, REARRANGEMENT):
        if mild[kind]:
            text += f"; {kind}s in {mild[kind]}"
    return text
