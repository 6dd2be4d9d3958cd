"""Files that are complete under their name or not there, and the checksums that tell whether they are still whole."""

import hashlib
import os
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jointkd.errors import StorageError

ABANDONED = 3600  # s; no living process leaves a temporary file or folder untouched for so long


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is either complete under its name or not there, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes, by age: a process of another machine cannot be asked."""
    for temporary in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - temporary.stat().st_mtime > ABANDONED:
                temporary.unlink()


@contextmanager
def storage_errors(place: Path, option: str, among: Container[int] | None = None) -> Iterator[None]:
    """Raise StorageError, which names the place and its option, for errors of the operating system.

    among: only for these error numbers; others pass through.
    """
    try:
        yield
    except OSError as error:
        if among is not None and error.errno not in among:
            raise
        raise StorageError.of(error, place, option) from error


def sha256_of(path: Path) -> str:
    """Checksum of a file, or of the files of a directory in the order of their names."""
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
