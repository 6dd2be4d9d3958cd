"""The folder of a simulation of several structures: a table of lifetimes, a summary, a plot, the last structures."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ase.io import write
from filelock import FileLock, Timeout

from jointkd.files.atomic import write_whole
from jointkd.files.folders import as_folder
from jointkd.simulation.lifetime_plot import plot_lifetimes
from jointkd.simulation.lifetimes import Row, Watched
from jointkd.simulation.outputs import FILES, new_folder, occupied

TABLE, RESULT, PICTURE, LAST, LOCK = "lifetimes.csv", "lifetimes.json", "lifetimes.png", "last.xyz", ".lock"


class LifetimeFolder:
    """The files; use it as a context manager, within which no other process has the folder.

    Raises ConfigError for a folder that holds a run or another simulation that is finished or of one structure.
    """

    def __init__(self, directory: str) -> None:
        going_on = any(as_folder(directory).glob("state-*.json"))  # perhaps with results, of which the summary is last
        self.path = new_folder(directory, (RESULT, *FILES, *(() if going_on else (TABLE, PICTURE, LAST))))
        self._stack = ExitStack()

    def __enter__(self) -> "LifetimeFolder":
        try:
            self._stack.enter_context(FileLock(self.path / LOCK, timeout=0))
        except Timeout as error:
            raise occupied(self.path, "which is running") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        (self.path / LOCK).unlink(missing_ok=True)

    def state(self, number: int) -> Path:
        """The file of the state of the simulation of a student."""
        return self.path / f"state-{number}.json"

    def finish(self, summary: dict[str, Any], rows: Sequence[Row], watched: Mapping[str, Sequence[Watched]]) -> None:
        """Write the results, the summary last, and remove the states."""
        columns = [field.name for field in fields(Row)]
        table = io.StringIO(newline="")
        csv.writer(table).writerows([columns, *([asdict(row)[name] for name in columns] for row in rows)])
        write_whole(self.path / TABLE, table.getvalue().encode())
        last = []
        for student, replicas in watched.items():
            for each in replicas:
                last.append(each.replica.atoms.copy())
                last[-1].info |= {"student": student, "structure": each.structure, "seed": each.seed}
        frames = io.StringIO()
        write(frames, last, format="extxyz")
        write_whole(self.path / LAST, frames.getvalue().encode())
        plot_lifetimes(rows, self.path / PICTURE)
        write_whole(self.path / RESULT, (json.dumps(summary, indent=2, ensure_ascii=False) + "\n").encode())
        for state in self.path.glob("state-*.json"):
            state.unlink()
