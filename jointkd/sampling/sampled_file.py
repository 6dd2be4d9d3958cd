"""The file of new structures: it grows by whole trajectories, each write is atomic, and the same command goes on."""

import io
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.io import read, write
from filelock import FileLock, Timeout

from jointkd.errors import ConfigError
from jointkd.files.atomic import storage_errors, write_whole

TRAJECTORY = "trajectory"  # entry of a structure with the number of its trajectory


class SampledFile:
    """Structures of extended XYZ, and beside them the options that they were made with, in a hidden file.

    made_with: those options. As a context manager it is this process's alone; raises ConfigError where it is another's,
    and for a file that is not of this command, or of other options.
    """

    def __init__(self, path: Path, made_with: dict[str, Any]) -> None:
        self.path, self.record, self.made_with = path, path.with_name(f".{path.name}.json"), made_with
        self.structures: list[Atoms] = []
        if not path.parent.is_dir():
            raise ConfigError(f"output={path}: there is no folder {path.parent}", "make it, or give another name")
        self.lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)

    def __enter__(self) -> "SampledFile":
        with storage_errors(self.path.parent, "output"), suppress(Timeout):
            self.lock.acquire()
        if not self.lock.is_locked:
            raise ConfigError(f"output={self.path}: another process is at work", "give another name")
        try:
            self._open()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def _open(self) -> None:
        if self.record.exists():
            self._check()
        elif self.path.exists():
            raise ConfigError(f"output={self.path} exists", "give the name of a new file; none is replaced")
        else:
            with storage_errors(self.path.parent, "output"):
                write_whole(self.record, (json.dumps(self.made_with, indent=1) + "\n").encode())
        if self.path.exists():
            self.structures = read(self.path, ":", format="extxyz")  # type: ignore[assignment]

    def _check(self) -> None:
        try:
            before = dict(json.loads(self.record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{self.record} is damaged", "give another name with output=…") from error
        now = json.loads(json.dumps(self.made_with))
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
