"""Folders of results: each is claimed by one command, and removed again by a command that fails before it writes."""

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from jointkd.errors import ConfigError
from jointkd.files.run_files import OF_A_RUN

LOG = "jointkd.log"
TASK = ".task-"  # and the number of a task of a SLURM step that has had the folder


def claim_folder(parent: Path) -> str:
    """Make a new folder in `parent` and return its name, the date and time; or, with -2, -3, … where that is taken.

    All tasks of a step of a SLURM job get the same folder. Commands that are typed into one step get one each: every
    task marks the folders that it has had.
    """
    several = int(os.environ.get("SLURM_NTASKS", 1)) > 1 and "SLURM_STEP_ID" in os.environ
    if several:
        name = f"slurm-{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
    else:
        name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True, exist_ok=several)
            if several:
                (folder / f"{TASK}{os.environ.get('SLURM_PROCID', 0)}").open("xb").close()
        except FileExistsError:
            continue
        return folder.name
    raise AssertionError


@contextmanager
def removed_if_unused(folder: Path) -> Iterator[None]:
    """Within the block, an error removes the folder, unless anything has been written there but the log of the block.

    Of several processes with one folder only the first removes it.
    """
    used = any(file.stat().st_size for file in folder.glob("*") if file.is_file())  # a log of another command
    try:
        yield
    except Exception:
        if not used and os.environ.get("LOCAL_RANK", "0") == os.environ.get("SLURM_PROCID", "0") == "0":
            remove_unused(folder)
        raise


def remove_unused(folder: Path) -> None:
    """Remove a folder, and the one that it is in if nothing is left there, if it holds nothing but a log."""
    files = list(folder.iterdir())
    if folder.resolve() == Path.cwd() or not all(is_own(file) for file in files):
        return
    for file in files:
        file.unlink()
    with suppress(OSError):  # there is something else in it
        folder.rmdir()
        folder.parent.rmdir()


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that a command got and did not use, because its results went to another one."""
    with suppress(OSError):
        folder.rmdir()


def is_own(file: Path) -> bool:
    """Whether a file is one that every command leaves in its folder at once."""
    return file.is_file() and (file.name == LOG or file.name.startswith(TASK))


def as_folder(directory: str | Path) -> Path:
    """The path of a folder to write to, which need not exist yet. Raises ConfigError for a file."""
    path = Path(directory).expanduser()
    if path.exists() and not path.is_dir():
        raise ConfigError(f"directory={directory} is a file", "give a folder, which need not exist yet")
    return path


def folder_for(directory: str, names: Iterable[str]) -> Path:
    """A folder into which files of these names are to be written, made if need be.

    Raises ConfigError for a folder that has one of them, or that holds a run.
    """
    path = as_folder(directory)
    for name in (*OF_A_RUN, *names):
        if (path / name).exists():
            raise ConfigError(
                f"directory={directory} has {name} already", "give another folder, or move that file away"
            )
    path.mkdir(parents=True, exist_ok=True)
    return path
