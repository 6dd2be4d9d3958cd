"""The file of new structures: it grows by whole trajectories, each write is atomic, and the same command goes on."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import read, write

from jointkd.errors import ConfigError
from jointkd.files.atomic import storage_errors, write_whole

TRAJECTORY = "trajectory"  # entry of a structure with the number of its trajectory


class SampledFile:
    """Structures of extended XYZ, and beside them the options that they were made with, `NAME.json`.

    made_with: those options. Raises ConfigError for a file that is not of this command, or of other options.
    """

    def __init__(self, path: Path, made_with: dict[str, Any]) -> None:
        self.path, self.record = path, path.with_suffix(".json")
        self.structures: list[Atoms] = []
        if not path.parent.is_dir():
            raise ConfigError(f"output={path}: there is no folder {path.parent}", "make it, or give another name")
        if self.record.exists():
            self._check(made_with)
        if path.exists() and not self.record.exists():
            raise ConfigError(f"output={path} exists", "give a name of a new file; no file is replaced")
        if path.exists():
            self.structures = read(path, ":", format="extxyz")  # type: ignore[assignment]
        else:
            with storage_errors(path.parent, "output"):
                write_whole(self.record, (json.dumps(made_with, indent=1) + "\n").encode())

    def _check(self, made_with: dict[str, Any]) -> None:
        try:
            before = dict(json.loads(self.record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{self.record} is not of this command", "give another name with output=…") from error
        now = json.loads(json.dumps(made_with))
        differing = [name for name in before.keys() | now.keys() if before.get(name) != now.get(name)]
        if differing:
            listing = ", ".join(f"{name}={before.get(name)}" for name in sorted(differing))
            raise ConfigError(f"{self.path} was made with {listing}", "give these options, or another output=…")

    @property
    def next_trajectory(self) -> int:
        """The number of the first trajectory of which the file has no structures yet."""
        return max((structure.info[TRAJECTORY] for structure in self.structures), default=-1) + 1

    def append(self, structures: Sequence[Atoms]) -> None:
        """Add the structures of one trajectory. Raises StorageError; the file is then as before."""
        self.structures += structures
        text = io.StringIO()
        write(text, self.structures, format="extxyz")
        with storage_errors(self.path.parent, "output"):
            write_whole(self.path, text.getvalue().encode())
