"""The state of a simulation of several structures as one JSON file, from which it goes on to the same result."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jointkd.errors import ConfigError, DataError, first_line
from jointkd.files.atomic import write_whole
from jointkd.simulation.lifetimes import Watched
from jointkd.simulation.stability import Event
from jointkd.structures.neighbors import Pairs

CHECKSUMS = ("student", "committee", "starts")  # which say nothing to a user
ANEW = "give another folder, or remove it to begin anew"


def save_state(path: Path, identity: Mapping[str, Any], step: int, watched: Sequence[Watched]) -> None:
    """Write the state atomically. Numbers are written so that they are read again to the last bit."""
    state = {"identity": dict(identity), "step": step, "replicas": [described(each) for each in watched]}
    write_whole(path, json.dumps(state).encode())


def load_state(path: Path, identity: Mapping[str, Any], watched: Sequence[Watched]) -> int:
    """Give replicas the state of a file, and return the number of steps that they have made; 0 where there is no file.

    Raises ConfigError for the state of other options, and DataError for a damaged file.
    """
    if not path.exists():
        return 0
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        step, before, replicas = int(state["step"]), dict(state["identity"]), list(state["replicas"])
        changed = [name for name, value in identity.items() if before.get(name) != value]
        if changed:
            name = changed[0]
            raise ConfigError(
                f"{path.parent} holds an unfinished simulation with another {name}"
                + ("" if name in CHECKSUMS else f" ({before.get(name)} instead of {identity[name]})"),
                ANEW,
            )
        for each, values in zip(watched, replicas, strict=True):
            restore(each, values)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({first_line(error)})", ANEW) from error
    return step


def described(watched: Watched) -> dict[str, Any]:
    """The state of a replica as plain values."""
    atoms, bonds = watched.replica.atoms, watched.stability.bonds
    return {
        "positions": atoms.positions.tolist(),
        "momenta": atoms.get_momenta().tolist(),
        "random": watched.replica.rng.bit_generator.state,
        "alive": watched.alive,
        "times": watched.times,
        "deviations": watched.deviations,
        "uncertainties": watched.uncertainties,
        "events": [[event.kind, event.atoms, event.description, time] for event, time in watched.events.items()],
        "bonds": [bonds.atoms.tolist(), bonds.images.tolist()],
        "equilibrium": watched.stability.equilibrium.tolist(),
    }


def restore(watched: Watched, values: Mapping[str, Any]) -> None:
    """Give a replica the state that was described."""
    atoms, stability = watched.replica.atoms, watched.stability
    atoms.set_positions(np.reshape(values["positions"], (len(atoms), 3)), apply_constraint=False)
    atoms.set_momenta(np.reshape(values["momenta"], (len(atoms), 3)), apply_constraint=False)
    watched.replica.rng.bit_generator.state = values["random"]
    watched.alive = bool(values["alive"])
    watched.times, watched.deviations = list(values["times"]), list(values["deviations"])
    watched.uncertainties = list(values.get("uncertainties", []))
    watched.events = {Event(kind, tuple(ends), text): time for kind, ends, text, time in values["events"]}
    ends, images = (np.array(each, dtype=np.int64) for each in values["bonds"])
    stability.bonds = Pairs(ends.reshape(-1, 2), images.reshape(-1, 3))
    stability.equilibrium = np.array(values["equilibrium"], dtype=float)
