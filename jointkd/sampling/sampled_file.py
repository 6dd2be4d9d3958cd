"""The file of new structures: it grows by whole trajectories, each write is atomic, and the same command goes on."""

import io
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import read, write

from jointkd.errors import ConfigError
from jointkd.files.atomic import storage_errors, write_whole
from jointkd.sampling.record import Record

TRAJECTORY = "trajectory"  # entry of a structure with the number of its trajectory

Tally = dict[str, float]  # what was counted by name, over all trajectories up to one


class SampledFile:
    """Structures of extended XYZ, and beside them the options that they were made with, in a hidden file.

    made_with: those options. As a context manager it is this process's alone; raises ConfigError where it is another's,
    and for a file that is not of this command, or of other options.
    """

    def __init__(self, path: Path, made_with: dict[str, Any]) -> None:
        self.path = path
        self.structures: list[Atoms] = []
        if not path.parent.is_dir():
            raise ConfigError(f"output={path}: there is no folder {path.parent}", "make it, or give another name")
        self.record = Record(path.with_name(f".{path.name}.json"), path, made_with)

    def __enter__(self) -> "SampledFile":
        with ExitStack() as held:
            held.enter_context(self.record)
            if not self.record.path.exists():
                if self.path.exists():
                    raise ConfigError(f"output={self.path} exists", "give the name of a new file; none is replaced")
                self.record.write({})
            if self.path.exists():
                self.structures = read(self.path, ":", format="extxyz")  # type: ignore[assignment]
            self.held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.close()

    @property
    def next_trajectory(self) -> int:
        """The number of the first trajectory of which the file has no structures yet."""
        return max((structure.info[TRAJECTORY] for structure in self.structures), default=-1) + 1

    @property
    def tally(self) -> Tally:
        """What was counted up to the last trajectory of which the file has structures."""
        return dict(self.record.so_far.get(str(self.next_trajectory - 1), {}))

    def append(self, structures: Sequence[Atoms], tally: Tally) -> None:
        """Add the structures of one trajectory, with what was counted up to it. Raises StorageError.

        Two tallies are recorded, so that one of them belongs to the file however this ends.
        """
        before = {str(self.next_trajectory - 1): self.tally}
        self.structures += structures
        self.record.write({**before, str(self.next_trajectory - 1): tally})
        text = io.StringIO()
        write(text, self.structures, format="extxyz")
        with storage_errors(self.path.parent, "output"):
            write_whole(self.path, text.getvalue().encode())
