"""Checkpoints on disk: written on the file system of the run, verified as they are read, with the one before kept."""

import io
import logging
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from jointkd.errors import DataError, StorageError, first_line
from jointkd.files.atomic import write_whole

log = logging.getLogger(__name__)


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoints, such that a crash at any time leaves one to go on from.

    Lightning writes to the folder of temporary files first and copies from there to another file system, so that a
    killed process or a full disk leaves a truncated file under the final name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint atomically and keep the one that it replaces. Raises StorageError."""
        path = Path(path)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content.getvalue(), keep=previous(path))
        except OSError as error:
            raise StorageError(
                f"the checkpoint {path} cannot be written ({error.strerror or error})",
                f"make room and permissions on the disk of {path.parent}, then resume with ckpt_path=last",
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint, or the one before it where it is damaged. Raises DataError."""
        return read_checkpoint(Path(path), weights_only is not False)


def previous(path: Path) -> Path:
    """The file of the checkpoint that was replaced by the one at `path`."""
    return path.with_name(f"{path.stem}-previous{path.suffix}")


def exists(path: Path) -> bool:
    """Whether there is a checkpoint at `path`, or the one before it."""
    return path.exists() or previous(path).exists()


def read_checkpoint(path: Path, weights_only: bool = True) -> dict[str, Any]:
    """The contents of the checkpoint at `path`, or of the one before it where it is damaged. Raises DataError."""
    whole = whole_checkpoint(path)
    try:
        checkpoint = torch.load(whole, map_location="cpu", weights_only=weights_only)
        checkpoint["state_dict"], checkpoint["epoch"]
    except UnpicklingError as error:
        raise DataError(
            f"{whole} is not a checkpoint of plain weights: to load it would run code", "give the last.ckpt of a run"
        ) from error
    except (RuntimeError, KeyError, TypeError) as error:
        raise DataError(
            f"{whole} is not a checkpoint of training ({first_line(error)})", "give the last.ckpt of a run"
        ) from error
    return checkpoint


def whole_checkpoint(path: Path) -> Path:
    """The file of the checkpoint if it is whole, else that of the one before it. Raises DataError if neither is."""
    damage = find_damage(path)
    if damage is None:
        return path
    older = previous(path)
    if find_damage(older) is None:
        log.warning("the checkpoint %s %s: the one before it, %s, is taken instead", path, damage, older.name)
        return older
    raise DataError(
        f"the checkpoint {path} {damage}, and there is no whole one before it",
        "give another checkpoint, or begin anew without ckpt_path in a new folder",
    )


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, None if it is whole: every part of its archive must have its checksum."""
    if not path.is_file():
        return "does not exist"
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as error:
        return f"is damaged ({str(error) or type(error).__name__})"
    return None if part is None else f"is damaged (the checksum of {part} is wrong)"
