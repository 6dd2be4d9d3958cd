"""The folder of a simulation: trajectory, log, events, summary and plot."""

import csv
import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from ase import Atoms
from ase.io import write

from jointkd.errors import ConfigError
from jointkd.files.atomic import write_whole
from jointkd.files.folders import as_folder
from jointkd.files.run_files import OF_A_RUN
from jointkd.palette import DPI, LIMIT, LIMIT_LINE, PAGE, STUDENT, STYLE
from jointkd.simulation.stability import Event

matplotlib.use("Agg")
from matplotlib import pyplot

LOG, EVENTS, TRAJECTORY = "log.csv", "events.csv", "trajectory.xyz"
SUMMARY, PLOT = "simulation.json", "simulation.png"  # summary.json is that of a training
FILES = (LOG, EVENTS, TRAJECTORY, SUMMARY, PLOT)


def new_folder(directory: str, names: Iterable[str]) -> Path:
    """The folder of a simulation, made if need be.

    Raises ConfigError for a file, for the folder of a run, and for a folder that has a file of one of the names.
    """
    path = as_folder(directory)
    for name in OF_A_RUN:
        if (path / name).exists():
            raise ConfigError(
                f"directory={directory} is the folder of a run (it has {name})", "give simulations folders of their own"
            )
    for name in names:
        if (path / name).exists():
            raise occupied(path, name)
    path.mkdir(parents=True, exist_ok=True)
    return path


def occupied(path: Path, what: str) -> ConfigError:
    """The error for a folder that another simulation has."""
    return ConfigError(
        f"directory={path} holds another simulation ({what})", "give another folder, or remove those files"
    )


class Line(NamedTuple):
    """A line of the log."""

    time_ps: float
    energy_eV: float
    total_energy_eV: float
    temperature_K: float
    bond_deviation_A: float
    force_uncertainty_eV_per_A: float | None = None  # the largest of an atom, where there is a committee


class SimulationFolder:
    """The files of a simulation that runs; use it as a context manager.

    Raises ConfigError for a folder that holds a run or another simulation, finished or not: nothing is replaced.
    """

    def __init__(self, directory: str) -> None:
        self.path = new_folder(directory, FILES)
        self.files = ExitStack()

    def __enter__(self) -> "SimulationFolder":
        self.log, self.events = (
            self._table(LOG, Line._fields),
            self._table(EVENTS, ("time_ps", "event", "atoms", "description")),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.files.close()

    def write_line(self, line: Line) -> None:
        """Add a line to the log."""
        self.log[0].writerow("" if value is None else f"{value:.6f}" for value in line)
        self.log[1].flush()

    def write_event(self, time: float, event: Event) -> None:
        """Add an event to events.csv. time: ps."""
        self.events[0].writerow((f"{time:.6f}", event.kind, " ".join(map(str, event.atoms)), event.description))
        self.events[1].flush()

    def write_frame(self, atoms: Atoms) -> None:
        """Add a frame to the trajectory."""
        write(self.path / TRAJECTORY, atoms, format="extxyz", append=True)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the summary: the simulation is finished."""
        write_whole(self.path / SUMMARY, (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())

    @matplotlib.rc_context(STYLE)
    def write_plot(self, lines: list[Line], tolerance: float) -> None:
        """Plot the total energy, the temperature and the largest deviation of a bond length over time."""
        values = np.array([line[:5] for line in lines])
        titles = ("Change of the total\nenergy, eV", "Temperature, K", "Largest deviation of\na bond length, Å")
        columns = (values[:, 2] - values[0, 2], values[:, 3], values[:, 4])
        figure, axes = pyplot.subplots(3, sharex=True, figsize=(0.7 * PAGE, 4.5), layout="constrained")
        for axis, title, column in zip(axes, titles, columns, strict=True):
            axis.plot(values[:, 0], column, color=STUDENT, linewidth=1)
            axis.set_ylabel(title)
        axes[2].axhline(tolerance, color=LIMIT, linestyle=LIMIT_LINE)
        axes[2].set_xlabel("Time, ps")
        figure.savefig(self.path / PLOT, dpi=DPI)
        pyplot.close(figure)

    def _table(self, name: str, columns: tuple[str, ...]) -> tuple[Any, Any]:
        """A writer of a table and its file, which must be new: of two simulations with one folder, one gets it."""
        try:
            file = self.files.enter_context((self.path / name).open("x", newline="", encoding="utf-8"))
        except FileExistsError as error:
            raise occupied(self.path, name) from error
        writer = csv.writer(file)
        writer.writerow(columns)
        return writer, file
