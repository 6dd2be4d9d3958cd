"""Molecular dynamics with a student: trajectory, log, plot, and the time for which the structure was stable."""

import logging
import time
from dataclasses import asdict
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from jointkd.deploy.ase import JointKD
from jointkd.errors import DataError
from jointkd.progress import Progress, format_time
from jointkd.simulation.doubt import Doubt, doubt_of, load_committee
from jointkd.simulation.options import SimulationOptions
from jointkd.simulation.outputs import Line, SimulationFolder
from jointkd.simulation.stability import NOT_FINITE, STOPS, UNCERTAIN, UNSTABLE, Event, Stability
from jointkd.simulation.start import read_start, thermalize

log = logging.getLogger(__name__)

MOST_EVENTS = 100  # in the summary; events.csv has all


def simulate(options: SimulationOptions) -> dict[str, Any]:
    """Simulate the dynamics of one structure of a file, and return the summary.

    Writes trajectory.xyz, log.csv, events.csv, simulation.json and simulation.png to `directory`, which must not hold a
    run or another simulation. Ends early as `stop_when` says. Raises ConfigError, DataError. Source: the paper, A.9.
    """
    run, structures, index = options.run, options.structures, options.index
    assert isinstance(run, str) and structures is not None and isinstance(index, int)  # noqa: PT018 (see `several`)
    atoms = read_start(structures, index)
    calculator = JointKD(run, options.device, options.dtype, options.trust)
    atoms.calc = calculator
    atoms.get_forces()  # refuses elements that the student does not know before anything is written
    doubt = doubt_of(run, calculator.model, load_committee(options, [atoms]), options.uncertainty)
    rng = np.random.default_rng(options.seed)
    thermalize(atoms, options.temperature, rng)
    lengths = known_lengths(run, calculator.origin)
    stability = Stability(atoms, options.bond_tolerance, options.contact, lengths, options.shortest)
    bonds = {"bonds": len(stability.equilibrium), "bonds_from_training": stability.from_training}
    with SimulationFolder(options.directory) as folder:
        simulation = Simulation(integrator(atoms, options, rng), atoms, stability, folder, options, doubt)
        simulation.run()
        summary = {"options": asdict(options), "atoms": len(atoms), **bonds, **simulation.summary()}
        folder.write_summary(summary)
        folder.write_plot(simulation.lines, options.bond_tolerance)
    log.info(
        "%d steps, %.3g ns/day, mean temperature %.0f K; written to %s",
        *(summary[name] for name in ("steps", "ns_per_day", "mean_temperature_K")),
        folder.path,
    )
    return summary


def known_lengths(run: str, origin: dict[str, Any]) -> dict[str, float]:
    """The equilibrium lengths (Å) by the kind of a bond in a student's file; none in older ones. Raises DataError."""
    lengths = origin.get("bond_lengths", {})
    if not isinstance(lengths, dict) or not all(isinstance(each, float) and each > 0 for each in lengths.values()):
        raise DataError(f"run={run} has lengths of bonds that are not positive numbers", "train the student again")
    return lengths


def integrator(atoms: Atoms, options: SimulationOptions, rng: np.random.Generator) -> MolecularDynamics:
    """The integrator of an ensemble."""
    timestep = options.timestep * units.fs
    if options.ensemble == "nvt":
        friction = options.friction / units.fs
        return Langevin(atoms, timestep, temperature_K=options.temperature, friction=friction, fixcm=False, rng=rng)
    if not atoms.calc.model.conservative:
        log.warning("the student's forces are not the gradient of its energy: the total energy will drift")
    return VelocityVerlet(atoms, timestep)


class Simulation:
    """A simulation as it runs: after every `interval` steps it writes a frame and a line, and looks for events."""

    def __init__(
        self,
        dynamics: MolecularDynamics,
        atoms: Atoms,
        stability: Stability,
        folder: SimulationFolder,
        options: SimulationOptions,
        doubt: Doubt | None = None,
    ) -> None:
        self.dynamics, self.atoms, self.stability = dynamics, atoms, stability
        self.folder, self.options, self.doubt = folder, options, doubt
        self.lines: list[Line] = []
        self.events: dict[Event, float] = {}  # ps, when each was first seen
        self.seconds = 0.0

    @property
    def time(self) -> float:
        """The simulated time, ps."""
        return self.dynamics.get_time() / (1000 * units.fs)

    def run(self) -> None:
        """Integrate until the last step, or until an event that `stop_when` names."""
        started, steps = time.monotonic(), self.options.steps
        with Progress("simulation", 0, steps, "step") as progress:
            while not self._record() and self.dynamics.nsteps < steps:
                self._integrate(min(self.options.interval, steps - self.dynamics.nsteps))
                self.seconds = time.monotonic() - started
                progress.show(self.dynamics.nsteps, self.describe_progress)

    def _integrate(self, steps: int) -> None:
        """Make so many steps, or fewer if the positions cease to be finite."""
        try:
            self.dynamics.run(steps)
        except DataError:
            if np.isfinite(self.atoms.positions).all():
                raise

    def _record(self) -> bool:
        """Write a frame, a line of the log and new events; return whether one of these ends the simulation."""
        atoms, deviation = self.atoms, self.stability.deviation(self.atoms)
        finite = np.isfinite(deviation)
        uncertain, largest = self._uncertain() if self.doubt and finite else ([], None)
        if finite:
            energies = atoms.get_potential_energy(), atoms.get_total_energy(), atoms.get_temperature()
            self.folder.write_frame(atoms)
        else:
            energies = np.nan, np.nan, np.nan
        self.lines.append(Line(self.time, *energies, deviation, largest))
        self.folder.write_line(self.lines[-1])
        new = [event for event in (*self.stability.events(atoms), *uncertain) if event not in self.events]
        ends = [event for event in new if event.kind in STOPS[self.options.stop_when]]
        for event in new:
            self._report(event, ends=event in ends)
        return bool(ends)

    def _uncertain(self) -> tuple[list[Event], float]:
        """What the committee says, and the largest uncertainty of an atom (eV/Å); those of all go into the frame."""
        assert self.doubt is not None
        (uncertainty,) = self.doubt.uncertainties([self.atoms])
        self.atoms.set_array("force_uncertainty", uncertainty)
        return self.doubt.events(self.atoms, uncertainty), float(uncertainty.max())

    def _report(self, event: Event, ends: bool) -> None:
        """Write an event, and log it if it ends the simulation or is the first of its kind."""
        first = all(event.kind != earlier.kind for earlier in self.events)
        self.events[event] = self.time
        self.folder.write_event(self.time, event)
        if ends:
            go_on = {NOT_FINITE: "", UNCERTAIN: "; a larger uncertainty goes on"}.get(
                event.kind, "; stop_when=never goes on"
            )
            what = "ended" if event.kind == UNCERTAIN else "unstable"
            log.warning("%s after %.3f ps: %s: %s%s", what, self.time, event.kind, event.description, go_on)
        elif first:
            log.warning("%s after %.3f ps: %s", event.kind, self.time, event.description)

    def describe_progress(self) -> str:
        """How far the simulation is, its speed and the time left."""
        steps, done, rate = self.options.steps, self.dynamics.nsteps, self.dynamics.nsteps / max(self.seconds, 1e-9)
        speed = ns_per_day(done, self.options.timestep, self.seconds)
        left = format_time((steps - done) / rate)
        return f"{done} of {steps} steps ({self.time:.3g} ps), {speed:.3g} ns/day, {left} left"

    def summary(self) -> dict[str, Any]:
        """How long the structure was stable, what happened to it, the mean temperature and the speed."""
        stop_when, steps = self.options.stop_when, self.dynamics.nsteps
        ends = [moment for event, moment in self.events.items() if event.kind in UNSTABLE[stop_when]]
        off = [line.time_ps for line in self.lines if not line.bond_deviation_A <= self.options.bond_tolerance]
        return {
            "steps": steps,
            "stable": not ends,
            "stable_ps": self._last_before(ends),
            "bonds_kept_ps": self._last_before(off),
            "events": [{"time_ps": moment, **asdict(event)} for event, moment in self.events.items()][:MOST_EVENTS],
            "mean_temperature_K": float(np.nanmean([line.temperature_K for line in self.lines])),
            "steps_per_second": steps / self.seconds if steps else 0.0,
            "ns_per_day": ns_per_day(steps, self.options.timestep, self.seconds),
        }

    def _last_before(self, moments: list[float]) -> float:
        """The time (ps) of the last line of the log before the first of some moments, of the last one without any."""
        times = [line.time_ps for line in self.lines]
        return max((each for each in times if each < min(moments)), default=0.0) if moments else times[-1]


def ns_per_day(steps: int, timestep: float, seconds: float) -> float:
    """The simulated time per day of computing, in ns. timestep: fs; seconds: that the steps took."""
    return steps * timestep * 1e-6 / (seconds / 86400) if steps else 0.0
