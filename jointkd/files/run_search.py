"""Folders that are not those of finished runs: what they are instead, and so what to give."""

from itertools import islice
from pathlib import Path

from jointkd.files.run_files import CHECKPOINTS, SUMMARY

DEEPEST = 3  # levels below a folder on which runs are looked for, as those of sweeps are


def instead_of_run(folder: Path) -> str:
    """A remedy for a folder that holds no finished run: the runs below it, or how one that was stopped is finished."""
    if any((folder / CHECKPOINTS).glob("last*.ckpt")):
        return f"training in it was stopped: repeat its command with ckpt_path=last hydra.run.dir={folder}"
    below = list(islice(finished_runs(folder), 2))
    if below:
        return (
            f"give one of the runs in it, such as {below[0]}" if len(below) > 1 else f"give the run in it, {below[0]}"
        )
    return "give the folder of a finished run, as training printed it"


def finished_runs(folder: Path) -> list[Path]:
    """The folders of finished runs below a folder."""
    return sorted(
        file.parent for depth in range(1, DEEPEST + 1) for file in folder.glob("/".join([*["*"] * depth, SUMMARY]))
    )
