"""Folders of memory-mapped arrays, each of which exists either completely or not at all."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.lib import format

from jointkd.errors import NO_SPACE, DataError
from jointkd.files.atomic import ABANDONED, storage_errors

MANIFEST = "manifest.json"


class Writer:
    """Writes the arrays of a folder row by row; the number of rows need not be known in advance."""

    def __init__(self, folder: Path, columns: dict[str, tuple[Any, tuple[int, ...]]]) -> None:
        """columns: for each array, the dtype and the shape of a row."""
        self._folder = folder
        self._columns = {name: (np.dtype(kind), shape) for name, (kind, shape) in columns.items()}
        self._files = {name: (folder / f"{name}.npy").open("wb") for name in columns}
        self.rows = dict.fromkeys(columns, 0)
        for name in columns:
            self._write_header(name)

    def append(self, name: str, rows: Any) -> None:
        """Append rows to an array; they are converted to its dtype and reshaped to [rows, *shape of a row]."""
        kind, shape = self._columns[name]
        array = np.asarray(rows, dtype=kind).reshape(-1, *shape)
        self._files[name].write(array.tobytes())
        self.rows[name] += len(array)

    def _write_header(self, name: str) -> None:
        kind, shape = self._columns[name]
        header = {"descr": format.dtype_to_descr(kind), "fortran_order": False, "shape": (self.rows[name], *shape)}
        format.write_array_header_1_0(self._files[name], header)  # is padded: any number of rows fits

    def finish(self) -> None:
        """Write the final number of rows into the header of each file, and flush all files to the disk."""
        for name, file in self._files.items():
            file.seek(0)
            self._write_header(name)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()


def make_once(folder: Path, make: Callable[[Path], dict[str, Any]], option: str) -> None:
    """Let `make` fill the folder unless it exists. One of several processes does so, and the others wait for it.

    make: receives an empty folder, fills it and returns its manifest. Raises StorageError, which names `option`, if the
    folder cannot be written; no partial folder remains.
    """
    if (folder / MANIFEST).exists():
        return
    with storage_errors(folder, option):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        lock.acquire()
    try:
        if not (folder / MANIFEST).exists():
            with storage_errors(folder, option, NO_SPACE):  # other errors come from the files that `make` reads
                fill(folder, make)
    finally:
        lock.release()


def fill(folder: Path, make: Callable[[Path], dict[str, Any]]) -> None:
    """Fill a folder under a temporary name and rename it when it is complete.

    Raises DataError if a folder of the final name exists without its manifest.
    """
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):  # of a killed process
        if time.time() - max(path.stat().st_mtime for path in (leftover, *leftover.iterdir())) > ABANDONED:
            shutil.rmtree(leftover)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        manifest = make(temporary)
        with (temporary / MANIFEST).open("w", encoding="utf-8") as file:
            file.write(json.dumps(manifest, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            temporary.rename(folder)
        except OSError as error:
            if not folder.is_dir():
                raise
            if not (folder / MANIFEST).exists():
                raise damaged(folder / MANIFEST, "it is missing") from error
            # otherwise a process on another machine, where our lock has no effect, was faster
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_manifest(folder: Path, format: int) -> dict[str, Any]:
    """The manifest of a folder. Raises DataError if it is damaged or was written by another version of jointkd."""
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        written = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(file, str(error)) from error
    if written != format:
        raise DataError(
            f"{folder} is of format {written}, and this version reads {format}",
            "move that folder away; the next run makes it again",
        )
    return manifest


def open_array(folder: Path, name: str, rows: int) -> np.ndarray:
    """A memory-mapped array of a folder. Writing to it changes the copy of this process, never the file.

    Raises DataError if the file is missing, unreadable or has another number of rows.
    """
    file = folder / f"{name}.npy"
    try:
        array = np.load(file, mmap_mode="c" if rows else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(file, str(error)) from error
    if len(array) != rows:
        raise damaged(file, f"it has {len(array)} rows instead of {rows}")
    return np.asarray(array)  # slices of a plain array cost a third of those of a memmap


def damaged(file: Path, reason: str) -> DataError:
    """The error for a damaged file of a folder of arrays."""
    return DataError(
        f"{file} is damaged ({reason})", f"move the folder {file.parent} away; the next run makes it again"
    )
