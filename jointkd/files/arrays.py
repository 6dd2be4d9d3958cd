"""Folders of memory-mapped arrays that are there whole or not at all."""

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
    """Arrays of a folder, each written row by row, however many there will be."""

    def __init__(self, folder: Path, columns: dict[str, tuple[Any, tuple[int, ...]]]) -> None:
        """columns: of each array the type and the shape of a row."""
        self._folder = folder
        self._columns = {name: (np.dtype(kind), shape) for name, (kind, shape) in columns.items()}
        self._files = {name: (folder / f"{name}.npy").open("wb") for name in columns}
        self.rows = dict.fromkeys(columns, 0)
        for name in columns:
            self._write_header(name)

    def append(self, name: str, rows: Any) -> None:
        kind, shape = self._columns[name]
        array = np.asarray(rows, dtype=kind).reshape(-1, *shape)
        self._files[name].write(array.tobytes())
        self.rows[name] += len(array)

    def _write_header(self, name: str) -> None:
        kind, shape = self._columns[name]
        described = {"descr": format.dtype_to_descr(kind), "fortran_order": False, "shape": (self.rows[name], *shape)}
        format.write_array_header_1_0(self._files[name], described)  # leaves room for any number of rows

    def finish(self) -> None:
        """Say in each file how many rows it has, and see them on the disk."""
        for name, file in self._files.items():
            file.seek(0)
            self._write_header(name)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def make_once(folder: Path, make: Callable[[Path], dict[str, Any]], option: str) -> None:
    """Have `make` fill the folder unless it is there; of many processes one does, and the others wait.

    make: is given an empty folder and returns the manifest. Raises StorageError that names `option` where the disk
    refuses; nothing is left then.
    """
    if (folder / MANIFEST).exists():
        return
    with storage_errors(folder, option):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f".{folder.name}.lock"))
        lock.acquire()
    try:
        if not (folder / MANIFEST).exists():
            with storage_errors(folder, option, NO_SPACE):  # other errors come from what `make` reads
                fill(folder, make)
    finally:
        lock.release()


def fill(folder: Path, make: Callable[[Path], dict[str, Any]]) -> None:
    """Make a folder under another name and rename it when it is complete. Raises DataError for half a folder."""
    for left in folder.parent.glob(f".{folder.name}.*.tmp"):  # by a process that was killed
        if time.time() - max(path.stat().st_mtime for path in (left, *left.iterdir())) > ABANDONED:
            shutil.rmtree(left)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        manifest = make(temporary)
        with (temporary / MANIFEST).open("w") as file:
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
            # else a process that our lock does not reach, on another machine, was faster
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_manifest(folder: Path, format: int) -> dict[str, Any]:
    """The manifest of a folder. Raises DataError where it is damaged or was written by another version."""
    file = folder / MANIFEST
    try:
        manifest = json.loads(file.read_text())
        found = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(file, str(error)) from error
    if found != format:
        raise DataError(
            f"{folder} is of format {found}, and this version reads {format}",
            "delete that folder; it is made again by the next run",
        )
    return manifest


def open_array(folder: Path, name: str, rows: int) -> np.ndarray:
    """An array of a folder, memory-mapped. Writing to it changes this process's copy only, never the file.

    Raises DataError where the file is not what was written.
    """
    file = folder / f"{name}.npy"
    try:
        array = np.load(file, mmap_mode="c" if rows else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise damaged(file, str(error)) from error
    if len(array) != rows:
        raise damaged(file, f"it has {len(array)} rows and not {rows}")
    return np.asarray(array)  # without memmap's bookkeeping, slices cost a third


def damaged(file: Path, reason: str) -> DataError:
    return DataError(
        f"{file} is damaged ({reason})", f"delete the folder {file.parent}; it is made again by the next run"
    )
