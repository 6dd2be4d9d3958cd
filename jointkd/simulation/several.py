"""Several structures, each with several seeds, in one batch: for how long each stays whole, with which student."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from jointkd.deploy.model import Model, load_model
from jointkd.errors import ConfigError, DataError
from jointkd.progress import Progress, format_time
from jointkd.simulation.doubt import Doubt, check_known, checksum, doubt_of, load_committee
from jointkd.simulation.dynamics import known_lengths
from jointkd.simulation.lifetime_files import LifetimeFolder
from jointkd.simulation.lifetime_state import load_state, save_state
from jointkd.simulation.lifetimes import Row, Watch, Watched, rows_of
from jointkd.simulation.options import SimulationOptions
from jointkd.simulation.replicas import Integration, Replica, ReplicaDynamics
from jointkd.simulation.stability import UNCERTAIN, Stability
from jointkd.simulation.start import prepared_starts, read_structure, thermalize
from jointkd.students.student_names import distinct_names

log = logging.getLogger(__name__)

DRAWN_BY = 0  # the seed by which structures are drawn, the same for every student
MAY_CHANGE = ("directory", "device", "trust", "save")  # of a simulation that goes on


def simulate_several(options: SimulationOptions, structures: Sequence[Atoms] | None = None) -> list[Row]:
    """Simulate each structure with each seed, for one student after the other, and return a row for each.

    structures: where options.structures is None. Writes lifetimes.csv, lifetimes.json, lifetimes.png and last.xyz to
    `directory`, and until then the state, from which the same call goes on. Raises ConfigError, DataError.
    Source: the paper, A.9 and figure 8.
    """
    if options.structures is not None:
        structures = read_structure(options.structures, ":")
    assert structures is not None
    starts = chosen(options, structures)
    if len(set(options.runs)) < len(options.runs):
        raise ConfigError(f"run={options.run} names a student twice", "give each once, and several seeds")
    models = [load_model(Path(run), options.device, options.dtype, options.trust) for run in options.runs]
    for run, model in zip(options.runs, models, strict=True):
        check_known(f"run={run}", model, starts.values())
    committee = load_committee(options, starts.values())
    doubts = [
        doubt_of(run, model, committee, options.uncertainty) for run, model in zip(options.runs, models, strict=True)
    ]
    names = distinct_names([Path(run) for run in options.runs], [model.saved.origin for model in models])
    with LifetimeFolder(options.directory) as folder:
        watched: dict[str, list[Watched]] = {}
        for number, (name, run, model) in enumerate(zip(names, options.runs, models, strict=True)):
            state = folder.state(number)
            watched[name] = simulate_student(options, starts, name, run, model, state, doubts[number])
        rows = [row for name, each in watched.items() for row in rows_of(name, each, options.stop_when)]
        folder.finish({"options": asdict(options), "students": summaries(rows)}, rows, watched)
    for name, summary in summaries(rows).items():
        unstable, count = summary["unstable"], summary["replicas"]
        log.info("%s: %d of %d became unstable (stop_when=%s)", name, unstable, count, options.stop_when)
        if ended := summary["events"].get(UNCERTAIN):
            log.info("%s: %d of %d were ended because their forces were uncertain", name, ended, count)
    log.info("written to %s", folder.path)
    return rows


def simulate_student(
    options: SimulationOptions,
    starts: dict[int, Atoms],
    name: str,
    run: str,
    model: Model,
    state: Path,
    doubt: Doubt | None,
) -> list[Watched]:
    """Simulate all starts with one student, from its saved state where there is one."""
    watched = [
        watched_start(options, number, atoms, seed, known_lengths(run, model.saved.origin))
        for number, atoms in starts.items()
        for seed in options.seeds
    ]
    identity = identity_of(options, run, watched)
    step = load_state(state, identity, watched)
    moving = [each.replica for each in watched if each.alive]
    integration = Integration(options.ensemble, options.timestep, options.friction)
    watch = Watch(
        ReplicaDynamics(model, moving, integration), watched, options.interval, options.stop_when, step, doubt
    )
    if step:
        log.info("%s goes on after %d of %d steps", name, step, options.steps)
    started, saved = time.monotonic(), step
    with Progress(name, step, options.steps, "step") as progress:

        def after_check() -> None:
            nonlocal saved
            if watch.step // options.save > saved // options.save:
                save_state(state, identity, watch.step, watched)
                watch.dynamics.forget()  # as where it goes on: from then on both are the same to the last bit
                saved = watch.step
            left = (options.steps - watch.step) / max((watch.step - step) / (time.monotonic() - started), 1e-9)
            progress.show(watch.step, lambda: describe(name, watch, options.steps, left))

        watch.run(options.steps, after_check)
    save_state(state, identity, options.steps, watched)
    return watched


def describe(name: str, watch: Watch, steps: int, left: float) -> str:
    """How far a simulation is. left: s."""
    alive = f"{len(watch.moving)} of {len(watch.watched)} move"
    return f"{name}: {watch.step} of {steps} steps ({watch.time:.3g} ps), {alive}, {format_time(left)} left"


def chosen(options: SimulationOptions, structures: Sequence[Atoms]) -> dict[int, Atoms]:
    """The structures that are simulated, by their number. Raises ConfigError, DataError."""
    count, place = len(structures), options.structures or "the test structures"
    if options.sample is not None:
        if options.sample > count:
            raise ConfigError(f"sample={options.sample}: {place} has {count} structures", "draw fewer")
        numbers = np.sort(np.random.default_rng(DRAWN_BY).choice(count, options.sample, replace=False)).tolist()
    elif options.index == "all":
        numbers = list(range(count))
    else:
        given = options.index if isinstance(options.index, list) else [options.index]
        numbers = [int(number) for number in given]
        for number in numbers:
            if not -count <= number < count:
                raise DataError(f"index={number}: {place} has {count} structures", "count them from 0")
        if len({number % count for number in numbers}) < len(numbers):
            raise ConfigError(f"index={options.index} names a structure twice", "give several seeds instead")
    return prepared_starts({number % count: structures[number] for number in numbers}, place)


def watched_start(
    options: SimulationOptions, number: int, start: Atoms, seed: int, lengths: dict[str, float]
) -> Watched:
    """A structure with random momenta at the beginning."""
    atoms, rng = start.copy(), np.random.default_rng([seed, number])
    thermalize(atoms, options.temperature, rng)
    stability = Stability(atoms, options.bond_tolerance, options.contact, lengths, options.shortest)
    return Watched(number, seed, Replica(atoms, rng, options.temperature), stability)


def identity_of(options: SimulationOptions, run: str, watched: Sequence[Watched]) -> dict[str, Any]:
    """What a saved state must agree with."""
    kept = {name: value for name, value in asdict(options).items() if name not in (*MAY_CHANGE, "run", "committee")}
    starts = [each.replica.atoms.positions.tolist() for each in watched]
    digest = hashlib.sha256(json.dumps(starts).encode()).hexdigest()
    others = {"committee": list(map(checksum, options.committee))} if options.committee else {}
    return {**kept, **others, "student": checksum(run), "starts": digest}


def summaries(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """For each student the number of replicas and of those that became unstable, in all and by the event."""
    by_name: dict[str, dict[str, Any]] = {}
    for row in rows:
        summary = by_name.setdefault(row.student, {"replicas": 0, "unstable": 0, "events": {}})
        summary["replicas"] += 1
        summary["unstable"] += not row.stable
        if row.event:
            summary["events"][row.event] = summary["events"].get(row.event, 0) + 1
    return by_name
