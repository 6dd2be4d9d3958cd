"""Molecular dynamics with a student: trajectory, log, plot, and the time for which the structure was stable."""

import csv
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from tqdm import tqdm

from jointkd.deploy.ase import JointKD
from jointkd.errors import ConfigError, DataError
from jointkd.runtime import somebody_watches
from jointkd.simulation.stability import LONGEST_DEVIATION, Bonds

matplotlib.use("Agg")
from matplotlib import pyplot

log = logging.getLogger(__name__)

COLUMNS = ("time_ps", "energy_eV", "total_energy_eV", "temperature_K", "bond_deviation_A")
SUMMARY = "simulation.json"  # summary.json is that of a training, whose folder `directory` may be

Line = tuple[float, ...]


@dataclass(frozen=True)
class SimulationOptions:
    """Options of a simulation of one structure with a student. Raises ConfigError."""

    run: str  # the folder of a finished run, or a student's file
    structures: str  # a file that ASE reads
    directory: str  # folder of the results
    index: int = 0  # of the structure in the file, counted from 0
    ensemble: str = "nvt"  # nvt: Langevin; nve: velocity Verlet
    temperature: float = 300.0  # K; for nve, of the initial velocities
    timestep: float = 1.0  # fs
    friction: float = 0.01  # 1/fs, for nvt
    steps: int = 10000
    interval: int = 50  # steps between frames of the trajectory and between lines of the log
    seed: int = 0
    device: str | None = None  # None: cuda if available, else cpu
    dtype: str = "float32"
    trust: str | list[str] | None = None  # import paths of students of your own that the file may name

    def __post_init__(self) -> None:
        for name in ("steps", "interval"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must be a positive integer", "give at least 1")


def simulate(options: SimulationOptions) -> dict[str, Any]:
    """Simulate the dynamics of one structure of a file, and return the summary.

    Writes trajectory.xyz, log.csv, simulation.json and simulation.png to `directory`. Ends early if the length of a
    bond changes by more than LONGEST_DEVIATION. Source: the paper, A.9.
    """
    atoms = read_structure(options.structures, options.index)
    atoms.calc = JointKD(options.run, options.device, options.dtype, options.trust)
    rng = np.random.default_rng(options.seed)
    thermalize(atoms, options.temperature, rng)
    Stationary(atoms)
    dynamics = integrator(atoms, options, rng)
    folder = Path(options.directory)
    bonds = Bonds(atoms)
    started = time.monotonic()
    lines = run_until_broken(dynamics, atoms, bonds, options.steps, options.interval, folder)
    steps, seconds = dynamics.nsteps, time.monotonic() - started
    stable = lines[-1][-1] <= LONGEST_DEVIATION
    summary = {
        "run": options.run,
        "structures": options.structures,
        "index": options.index,
        "atoms": len(atoms),
        "bonds": len(bonds.pairs),
        "ensemble": options.ensemble,
        "temperature_K": options.temperature,
        "mean_temperature_K": float(np.mean([line[3] for line in lines])),
        "timestep_fs": options.timestep,
        "steps": steps,
        "stable": stable,
        "stable_ps": lines[-1 if stable else -2][0],
        "steps_per_second": steps / seconds,
        "ns_per_day": steps * options.timestep * 1e-6 / (seconds / 86400),
    }
    (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    plot(lines, folder / "simulation.png")
    speed = f"{steps} steps, {summary['ns_per_day']:.2f} ns/day, mean temperature {summary['mean_temperature_K']:.0f} K"
    log.info("%s; written to %s: trajectory.xyz, log.csv, simulation.json, simulation.png", speed, folder)
    return summary


def read_structure(structures: str, index: int) -> Atoms:
    """A structure of a file, without its labels and velocities. Raises DataError for a missing file or structure."""
    try:
        structure: Any = read(structures, index=index)
    except FileNotFoundError as error:
        raise DataError(f"structures={structures} does not exist", "give a file that ASE reads") from error
    except (IndexError, StopIteration) as error:
        raise DataError(f"index={index}: {structures} has fewer structures", "count them from 0") from error
    except Exception as error:
        raise DataError(f"structures={structures} cannot be read ({error})", "give a file that ASE reads") from error
    return Atoms(structure.numbers, structure.positions, cell=structure.cell, pbc=structure.pbc)


def thermalize(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Give the atoms random momenta at a temperature (K). (The name of ASE's own function depends on its version.)"""
    momenta = rng.standard_normal((len(atoms), 3))
    atoms.set_momenta(momenta * np.sqrt(atoms.get_masses() * (units.kB * temperature))[:, None])


def integrator(atoms: Atoms, options: SimulationOptions, rng: np.random.Generator) -> MolecularDynamics:
    """The integrator of an ensemble. Raises ConfigError for an unknown ensemble."""
    timestep = options.timestep * units.fs
    if options.ensemble == "nvt":
        atoms.set_constraint(FixCom())
        friction = options.friction / units.fs
        return Langevin(atoms, timestep, temperature_K=options.temperature, friction=friction, fixcm=False, rng=rng)
    if options.ensemble == "nve":
        if not atoms.calc.student.conservative:
            log.warning("the student's forces are not the gradient of its energy: the total energy will drift")
        return VelocityVerlet(atoms, timestep)
    raise ConfigError(f"ensemble={options.ensemble} is not known", "choose nvt or nve")


def run_until_broken(
    dynamics: MolecularDynamics, atoms: Atoms, bonds: Bonds, steps: int, interval: int, folder: Path
) -> list[Line]:
    """Integrate until the last step or until a bond breaks, and return the lines of the log, with one value per COLUMN.

    After every `interval` steps a frame and a line of the log are written.
    """
    lines: list[Line] = []
    with (
        (folder / "log.csv").open("w", newline="", encoding="utf-8") as opened,
        tqdm(total=steps, unit="step", disable=not somebody_watches()) as bar,
    ):
        table = csv.writer(opened)
        table.writerow(COLUMNS)
        while True:
            deviation = bonds.deviation(atoms)
            finite = np.isfinite(deviation)
            energies = (atoms.get_potential_energy(), atoms.get_total_energy()) if finite else (np.nan, np.nan)
            kelvin = atoms.get_temperature() if finite else np.nan
            lines.append((dynamics.get_time() / (1000 * units.fs), *energies, kelvin, deviation))
            table.writerow(f"{value:.6f}" for value in lines[-1])
            opened.flush()
            if finite:
                write(folder / "trajectory.xyz", atoms, format="extxyz", append=dynamics.nsteps > 0)
            if deviation > LONGEST_DEVIATION:
                reason = bonds.describe_worst(atoms) if finite else "positions are not finite"
                log.warning("unstable after %.3f ps: %s", lines[-1][0], reason)
                return lines
            remaining = steps - dynamics.nsteps
            if remaining <= 0:
                return lines
            dynamics.run(min(interval, remaining))
            bar.update(dynamics.nsteps - bar.n)


def plot(lines: list[Line], path: Path) -> None:
    """Plot the total energy, the temperature and the largest change of a bond length over time."""
    values = np.array(lines)
    titles = ("Change of the total\nenergy, eV", "Temperature, K", "Largest change of\na bond length, Å")
    columns = (values[:, 2] - values[0, 2], values[:, 3], values[:, 4])
    figure, axes = pyplot.subplots(3, sharex=True, figsize=(7, 6), layout="constrained")
    for axis, title, column in zip(axes, titles, columns, strict=True):
        axis.plot(values[:, 0], column, color="#c03a2b", linewidth=1)
        axis.set_ylabel(title)
        axis.spines[["top", "right"]].set_visible(False)
    axes[2].axhline(LONGEST_DEVIATION, color="#9aa0a6", linestyle="--", linewidth=1)
    axes[2].set_xlabel("Time, ps")
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
