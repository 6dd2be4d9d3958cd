"""For how long replicas of structures stay whole: each is watched, and those that break leave the batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from jointkd.simulation.doubt import Doubt
from jointkd.simulation.replicas import Replica, ReplicaDynamics
from jointkd.simulation.stability import OF_THE_PAPER, STOPS, UNSTABLE, Event, Stability


@dataclass
class Watched:
    """A replica, what happened to it, and whether it still moves."""

    structure: int  # its number among the structures
    seed: int
    replica: Replica
    stability: Stability
    events: dict[Event, float] = field(default_factory=dict)  # ps, when each was first seen
    times: list[float] = field(default_factory=list)  # ps, of the checks
    deviations: list[float] = field(default_factory=list)  # Å, the largest of a bond length at each check
    uncertainties: list[float] = field(default_factory=list)  # eV/Å, the largest of an atom at each check
    alive: bool = True

    def check(self, time: float, stop_when: str, uncertain: Sequence[Event] = ()) -> list[Event]:
        """Look at the structure at a time (ps), and return the events that are new; see `STOPS`.

        uncertain: what a committee says of it.
        """
        atoms = self.replica.atoms
        self.times.append(time)
        self.deviations.append(self.stability.deviation(atoms))
        new = [event for event in (*self.stability.events(atoms), *uncertain) if event not in self.events]
        self.events |= dict.fromkeys(new, time)
        self.alive = not any(event.kind in STOPS[stop_when] for event in new)
        return new

    def first(self, kinds: set[str]) -> tuple[Event, float] | None:
        """The first event of some kinds with its time (ps); None if there was none."""
        return next(((event, time) for event, time in self.events.items() if event.kind in kinds), None)

    def whole_for(self, kinds: set[str]) -> float:
        """The time (ps) of the last check before the first event of some kinds, of the last one if there was none."""
        found = self.first(kinds)
        end = np.inf if found is None else found[1]
        return max((time for time in self.times if time < end), default=0.0)


class Watch:
    """Runs replicas, checks them every `interval` steps, and goes on with those that `stop_when` does not end."""

    def __init__(
        self,
        dynamics: ReplicaDynamics,
        watched: Sequence[Watched],
        interval: int,
        stop_when: str,
        step: int = 0,
        doubt: Doubt | None = None,
    ) -> None:
        """watched: those that move in the order of the dynamics, and others; step: how many have been made."""
        self.dynamics, self.watched, self.doubt = dynamics, list(watched), doubt
        self.interval, self.stop_when, self.step = interval, stop_when, step

    @property
    def moving(self) -> list[Watched]:
        """Those that still move, in the order of the batch."""
        return [each for each in self.watched if each.alive]

    @property
    def time(self) -> float:
        """The simulated time, ps."""
        return self.step * self.dynamics.integration.timestep / 1000

    def run(self, steps: int, after_check: Callable[[], None] = lambda: None) -> None:
        """Go on until so many steps have been made in all, or nothing moves. after_check: called after every check."""
        if not self.step:
            self._check()
        while self.moving and self.step < steps:
            more = min(self.interval, steps - self.step)
            self.dynamics.run(more)
            self.step += more
            self._check()
            after_check()

    def _check(self) -> None:
        moving = self.moving
        for each, uncertain in zip(moving, self._uncertain(moving), strict=True):
            each.check(self.time, self.stop_when, uncertain)
        self.dynamics.keep([each.alive for each in moving])

    def _uncertain(self, moving: Sequence[Watched]) -> list[list[Event]]:
        """What the committee says of each."""
        if self.doubt is None or not moving:
            return [[] for _ in moving]
        structures = [each.replica.atoms for each in moving]
        found = self.doubt.uncertainties(structures)
        for each, uncertainty in zip(moving, found, strict=True):
            each.uncertainties.append(float(uncertainty.max()))
        return [self.doubt.events(*of_one) for of_one in zip(structures, found, strict=True)]


@dataclass(frozen=True)
class Row:
    """What became of one structure with one seed."""

    student: str
    structure: int
    seed: int
    atoms: int
    temperature_K: float
    stable: bool  # by stop_when
    stable_ps: float  # until the last check before it became unstable, or until the last one
    bonds_kept_ps: float  # the same by the paper's criterion, whatever stop_when is
    largest_deviation_A: float  # of the length of a bond
    largest_uncertainty_eV_per_A: float | None  # of the forces on an atom, where a committee looked at them
    event: str  # that ended it or made it unstable, if any
    event_ps: float | None
    event_atoms: str
    description: str


def rows_of(student: str, watched: Sequence[Watched], stop_when: str) -> list[Row]:
    """The table of one student. A structure that was ended because its forces were uncertain was stable until then."""
    unstable = UNSTABLE[stop_when]
    rows = []
    for each in watched:
        event, time = each.first(unstable | STOPS[stop_when]) or (None, None)
        rows.append(
            Row(
                student,
                each.structure,
                each.seed,
                len(each.replica.atoms),
                each.replica.temperature,
                each.first(unstable) is None,
                each.whole_for(unstable),
                each.whole_for(OF_THE_PAPER),
                max(each.deviations),
                max(each.uncertainties, default=None),
                event.kind if event else "",
                time,
                " ".join(map(str, event.atoms)) if event else "",
                event.description if event else "",
            )
        )
    return rows


def survival(lifetimes: Sequence[float], ended: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Times (ps) and the share that lives on after each, by the product-limit estimate of Kaplan and Meier.

    lifetimes: ps, until the end of a replica or, where it has not ended, until it was last seen.
    """
    times, over = np.asarray(lifetimes, dtype=float), np.asarray(ended, dtype=bool)
    moments = np.unique(times[over])
    at_risk = (times[None] >= moments[:, None]).sum(1)
    ends = ((times[None] == moments[:, None]) & over[None]).sum(1)
    return np.concatenate([[0.0], moments]), np.cumprod(np.concatenate([[1.0], 1 - ends / at_risk]))
