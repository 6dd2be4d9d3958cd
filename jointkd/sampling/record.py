"""What files were made with, in a file beside them: the same command goes on, and one with other options is refused."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jointkd.errors import ConfigError
from jointkd.files.atomic import storage_errors, write_whole

SO_FAR = "so far"  # the entry beside the options


class Record:
    """The options that `output`, a file or a folder, is made with, and how far it has come, as JSON at `path`.

    As a context manager it is this process's alone. Raises ConfigError where it is another's, damaged, or of other
    options.
    """

    def __init__(self, path: Path, output: Path, made_with: dict[str, Any]) -> None:
        self.path, self.output, self.made_with = path, output, made_with
        self.so_far: dict[str, Any] = {}
        hidden = path.with_name(f".{path.stem.removeprefix('.')}.lock")
        self.lock = FileLock(hidden, timeout=0)

    def __enter__(self) -> "Record":
        with storage_errors(self.path.parent, "output"), suppress(Timeout):
            self.lock.acquire()
        if not self.lock.is_locked:
            raise ConfigError(f"output={self.output}: another process is at work", "give another name")
        try:
            if self.path.exists():
                self._read()
        except BaseException:
            self.lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def _read(self) -> None:
        try:
            before = dict(json.loads(self.path.read_text(encoding="utf-8")))
            self.so_far = dict(before.pop(SO_FAR, {}))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError(f"{self.path} is damaged", "give another name with output=…") from error
        now = json.loads(json.dumps(self.made_with))
        differing = [name for name in before.keys() | now.keys() if before.get(name) != now.get(name)]
        if differing:
            listing = ", ".join(f"{name}={before.get(name)}" for name in sorted(differing))
            raise ConfigError(f"{self.output} was made with {listing}", "give these options, or another output=…")

    def write(self, so_far: dict[str, Any]) -> None:
        """Write the options and how far the work has come. Raises StorageError."""
        content = {**self.made_with, **({SO_FAR: so_far} if so_far else {})}
        with storage_errors(self.path.parent, "output"):
            write_whole(self.path, (json.dumps(content, indent=1) + "\n").encode())
        self.so_far = so_far
