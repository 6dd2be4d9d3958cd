"""Folders of results: each is claimed by one command, and removed again by a command that fails before it writes."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

OWN = {"jointkd.log"}  # what every command leaves in its folder, at once


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
                (folder / f".task-{os.environ.get('SLURM_PROCID', 0)}").open("xb").close()
        except FileExistsError:
            continue
        return folder.name
    raise AssertionError


@contextmanager
def removed_if_unused(folder: Path) -> Iterator[None]:
    """Within the block, an error removes the folder, unless anything has been written there but a log.

    Of several processes with one folder only the first removes it.
    """
    try:
        yield
    except Exception:
        if os.environ.get("LOCAL_RANK", "0") == os.environ.get("SLURM_PROCID", "0") == "0":
            remove_unused(folder)
        raise


def remove_unused(folder: Path) -> None:
    """Remove a folder, and the one that it is in, if they hold nothing but a log."""
    files = [file for file in folder.rglob("*") if not file.is_dir()]
    if folder.resolve() == Path.cwd() or any(
        file.parent != folder or not (file.name in OWN or file.name.startswith(".task-")) for file in files
    ):
        return
    for file in files:
        file.unlink()
    with suppress(OSError):  # there is something else in it
        folder.rmdir()
        folder.parent.rmdir()
