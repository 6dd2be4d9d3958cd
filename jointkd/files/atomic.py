"""Files that exist either completely or not at all, and checksums that reveal a changed file."""

import hashlib
import os
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from jointkd.errors import StorageError

ABANDONED = 3600  # s; a temporary file or folder that has not changed for so long belongs to no living process


def write_whole(path: Path, content: bytes, keep: Path | None = None) -> None:
    """Write a file atomically: after a crash or a power cut it is either complete or absent.

    keep: where an existing file is moved before the new one takes its name; None: it is replaced.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_text(path: Path) -> Iterator[IO[str]]:
    """A text file to write into, which takes its name when the block ends, and disappears where the block fails.

    Raises FileExistsError if another file has got the name meanwhile.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            raise FileExistsError(f"{path} exists")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes.

    Their age tells that they are abandoned, because the process may have run on another machine.
    """
    for temporary in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - temporary.stat().st_mtime > ABANDONED:
                temporary.unlink()


@contextmanager
def storage_errors(place: Path, option: str, only: Container[int] | None = None) -> Iterator[None]:
    """Within the block, an error of the operating system becomes a StorageError that names the place and its option.

    only: the error numbers that are converted; other errors pass through (None: all are converted).
    """
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        raise StorageError.of(error, place, option) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of the bytes of a file, in hexadecimal."""
    return _digest(path).hex()


def combined_sha256(path: Path) -> str:
    """One checksum for a file or a folder, in hexadecimal: the SHA-256 of the SHA-256 digests of its files.

    The files directly inside a folder count in the order of their names; subfolders do not count.
    """
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(_digest(file) for file in files)).hexdigest()


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
