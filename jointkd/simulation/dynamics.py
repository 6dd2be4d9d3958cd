"""Molecular dynamics with a student: trajectory, log, picture, and for how long it was stable."""

import csv
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.geometry import find_mic
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import natural_cutoffs, neighbor_list
from tqdm import tqdm

from jointkd.deploy.ase import JointKD
from jointkd.errors import ConfigError, DataError

matplotlib.use("Agg")
from matplotlib import pyplot

log = logging.getLogger(__name__)

LONGEST_DEVIATION = 0.5  # Å; the paper, eq. 51
COLUMNS = ("time_ps", "energy_eV", "total_energy_eV", "temperature_K", "bond_deviation_A")

Line = tuple[float, ...]


def simulate(
    run: str,
    structures: str,
    index: int,
    ensemble: str,
    temperature: float,
    timestep: float,
    friction: float,
    steps: int,
    interval: int,
    seed: int,
    device: str | None,
    dtype: str,
    directory: str,
) -> dict[str, Any]:
    """Dynamics from one structure of a file; the options are those of conf/simulate.yaml.

    Writes trajectory.xyz, log.csv, summary.json and simulation.png to `directory`, and returns the summary. Ends early
    where a bond is LONGEST_DEVIATION longer or shorter than in the beginning. Source: the paper, A.9.
    """
    if steps < 1 or interval < 1:
        raise ConfigError(f"steps={steps}, interval={interval}", "give numbers of steps, at least 1")
    atoms = start(structures, index)
    atoms.calc = JointKD(run, device, dtype)
    rng = np.random.default_rng(seed)
    thermalize(atoms, temperature, rng)
    Stationary(atoms)
    dynamics = engine(atoms, ensemble, temperature, timestep, friction, rng)
    folder = Path(directory)
    bonds = Bonds(atoms)
    began = time.monotonic()
    lines = run_until_broken(dynamics, atoms, bonds, steps, interval, folder)
    done, seconds = dynamics.nsteps, time.monotonic() - began
    stable = lines[-1][-1] <= LONGEST_DEVIATION
    summary = {
        "run": run,
        "structures": structures,
        "index": index,
        "atoms": len(atoms),
        "bonds": len(bonds.pairs),
        "ensemble": ensemble,
        "temperature_K": temperature,
        "mean_temperature_K": float(np.mean([line[3] for line in lines])),
        "timestep_fs": timestep,
        "steps": done,
        "stable": stable,
        "stable_ps": lines[-1 if stable else -2][0],
        "steps_per_second": done / seconds,
        "ns_per_day": done * timestep * 1e-6 / (seconds / 86400),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    picture(lines, folder / "simulation.png")
    said = f"{done} steps, {summary['ns_per_day']:.2f} ns/day, mean temperature {summary['mean_temperature_K']:.0f} K"
    log.info("%s; written to %s: trajectory.xyz, log.csv, summary.json, simulation.png", said, folder)
    return summary


def start(structures: str, index: int) -> Atoms:
    """A structure of a file. Raises DataError where there is no such file or structure."""
    try:
        found: Any = read(structures, index=index)
    except FileNotFoundError as error:
        raise DataError(f"structures={structures} does not exist", "give a file that ASE reads") from error
    except (IndexError, StopIteration) as error:
        raise DataError(f"index={index}: {structures} holds fewer structures", "they are counted from 0") from error
    except Exception as error:
        raise DataError(f"structures={structures} cannot be read ({error})", "give a file that ASE reads") from error
    return Atoms(found.numbers, found.positions, cell=found.cell, pbc=found.pbc)


def thermalize(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Give atoms random momenta of a temperature (K). ASE's own function has another name from version to version."""
    momenta = rng.standard_normal((len(atoms), 3))
    atoms.set_momenta(momenta * np.sqrt(atoms.get_masses() * (units.kB * temperature))[:, None])


def engine(
    atoms: Atoms, ensemble: str, temperature: float, timestep: float, friction: float, rng: np.random.Generator
) -> MolecularDynamics:
    """What moves the atoms. Raises ConfigError for an ensemble that is not known."""
    if ensemble == "nvt":
        atoms.set_constraint(FixCom())
        dissipation = {"temperature_K": temperature, "friction": friction / units.fs}
        return Langevin(atoms, timestep * units.fs, **dissipation, fixcm=False, rng=rng)
    if ensemble == "nve":
        if not atoms.calc.student.conservative:
            log.warning("the student's forces are not the gradient of its energy: the total energy will drift")
        return VelocityVerlet(atoms, timestep * units.fs)
    raise ConfigError(f"ensemble={ensemble} is not known", "choose nvt or nve")


class Bonds:
    """The bonds of a structure, and how far from their first lengths they are."""

    def __init__(self, atoms: Atoms) -> None:
        first, second = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=1.25))
        self.pairs = np.array([(i, j) for i, j in zip(first, second, strict=True) if i < j], dtype=int).reshape(-1, 2)
        self.lengths = self._lengths(atoms)

    def deviation(self, atoms: Atoms) -> float:
        """Å: the largest change of a bond's length; infinite where positions are not finite."""
        if not np.isfinite(atoms.positions).all():
            return float("inf")
        return float(np.abs(self._lengths(atoms) - self.lengths).max(initial=0.0))

    def worst(self, atoms: Atoms) -> str:
        """The bond that changed most, in words."""
        lengths = self._lengths(atoms)
        bond = int(np.abs(lengths - self.lengths).argmax())
        i, j = self.pairs[bond]
        ends = f"{atoms.symbols[i]}{i}-{atoms.symbols[j]}{j}"
        return f"the bond {ends} is {lengths[bond]:.2f} Å long and was {self.lengths[bond]:.2f} Å"

    def _lengths(self, atoms: Atoms) -> np.ndarray:
        first, second = self.pairs.T
        vectors, _ = find_mic(atoms.positions[second] - atoms.positions[first], atoms.cell, atoms.pbc)
        return np.linalg.norm(vectors, axis=-1)


def run_until_broken(
    dynamics: MolecularDynamics, atoms: Atoms, bonds: Bonds, steps: int, interval: int, folder: Path
) -> list[Line]:
    """Move the atoms, writing each `interval` a frame and a line of the log. The lines, one for each of `COLUMNS`."""
    lines: list[Line] = []
    terminal = sys.stderr.isatty()
    with (
        (folder / "log.csv").open("w", newline="") as opened,
        tqdm(total=steps, unit="step", disable=not terminal) as bar,
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
                what = bonds.worst(atoms) if finite else "positions are not finite"
                log.warning("unstable after %.3f ps: %s", lines[-1][0], what)
                return lines
            left = steps - dynamics.nsteps
            if left <= 0:
                return lines
            dynamics.run(min(interval, left))
            bar.update(dynamics.nsteps - bar.n)


def picture(lines: list[Line], path: Path) -> None:
    """Energy, temperature and the largest change of a bond, over time."""
    values = np.array(lines)
    titles = ("Total energy\neV, from the start", "Temperature\nK", "Largest change\nof a bond, Å")
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
