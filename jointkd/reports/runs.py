"""Finished runs, grouped by their settings: runs that differ only in their seeds are averaged."""

import json
import logging
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from jointkd.cli.config_tree import as_text, flatten, is_private
from jointkd.errors import DataError, first_line
from jointkd.files.run_files import CONFIGURATION, SPLIT, SUMMARY

log = logging.getLogger(__name__)

ORDER = {  # of the paper's data sets, students and methods; others follow
    "data": ["monomers", "solvated_aa", "iodine", "pm3m", "yttrium", "bandgap5"],
    "student": ["gemnet_dt", "painn", "gemnet_t"],
    "method": ["none", "atomic_energy", "hessian", "joint"],
}
SYMBOLS = {"width": "width", "energy": "λ_E", "forces": "λ_F", "atomic_energy": "λ_Eatom", "hessian": "λ_H"}


class Setting(NamedTuple):
    """The settings of a group of runs, which differ only in their seeds and in the folders of their files."""

    data: str
    teacher: str
    student: str
    width: int  # 0 for a student without one
    energy: float  # weights of the terms, 0 for terms that the method does not have
    forces: float
    atomic_energy: float
    hessian: float
    method: str
    options: str = ""  # the values of other options that differ between such runs

    @classmethod
    def of(cls, run: dict[str, Any]) -> "Setting":
        """The setting of a run, given by its summary."""
        weights = run["weights"]
        energy, forces, atomic_energy, hessian = (float(weights.get(name, 0)) for name in list(SYMBOLS)[1:])
        return cls(
            run["data"],
            run["teacher"],
            run["student"],
            run["width"] or 0,
            energy,
            forces,
            atomic_energy,
            hessian,
            run["method"],
        )

    def sort_key(self) -> tuple[Any, ...]:
        """The position in a table."""
        return tuple(
            (known.index(value) if value in known else len(known), by_number(value))
            for name, value in self._asdict().items()
            for known in [ORDER.get(name, [])]
        )


def by_number(value: Any) -> Any:
    """What texts are sorted by, so that 8 comes before 16."""
    if not isinstance(value, str):
        return value
    return [(0, float(part), "") if NUMBER.fullmatch(part) else (1, 0.0, part) for part in NUMBER.split(value) if part]


NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")

Runs = dict[Setting, list[dict[str, Any]]]

NEEDED = ("seed", "test", "teacher_test", "parameters", "started", "ended")  # besides what makes a `Setting`

OF_STEPS = {"trainer.max_epochs", "trainer.check_val_every_n_epoch", "schedulers.cosine.T_max"}

OVERRULED = {"label.rows": "label.probes"}  # an option that counts only without the other

IGNORED = {  # seeds, folders, and the weights, because a `Setting` has those of the terms
    *("seed", "data.seed", "weights", "name", "logger", "ckpt_path", "overwrite", "label.path", "teacher.python"),
    *("data.prepared", "data.source", "data.downloads"),
}


def read_runs(root: Path) -> Runs:
    """The summaries of the finished runs below `root`, grouped by their settings. Raises DataError if none is found."""
    groups: Runs = defaultdict(list)
    for file in sorted(root.rglob(SUMMARY)):
        try:
            run = read_run(file)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
            log.warning("%s is left out: its files cannot be read (%s)", file.parent, first_line(error))
            continue
        if run is not None:
            groups[Setting.of(run)].append(run)
    if not groups:
        raise DataError(f"runs={root} holds no finished runs", "give a folder that training wrote")
    differing: dict[Any, set[str]] = defaultdict(set)  # over all methods, because they are compared with each other
    for setting, group in groups.items():
        differing[setting[:3]] |= differences(group)
    runs: Runs = defaultdict(list)
    for setting, group in groups.items():
        for run in group:
            shown = [name for name in sorted(differing[setting[:3]]) if name in run["options"]]
            options = " ".join(f"{name}={run['options'][name]}" for name in shown)
            runs[setting._replace(options=options)].append(run)
    for group in runs.values():
        if len({run["seed"] for run in group}) < len(group):
            folders = ", ".join(str(run["folder"]) for run in group)
            log.warning("runs with the same seed and the same options are averaged: %s", folders)
    return dict(sorted(runs.items(), key=lambda item: item[0].sort_key()))


def read_run(summary: Path) -> dict[str, Any] | None:
    """The summary of a run with its folder and its options, None for a file of another command.

    Raises an error of one of several kinds where the files of the run are damaged.
    """
    run = json.loads(summary.read_text(encoding="utf-8"))
    if "methods" in run or "ensemble" in run:  # a comparison or a simulation of version 0.1
        return None
    Setting.of(run)
    for name in NEEDED:
        run[name]
    folder = summary.parent
    return {
        **run,
        "folder": folder,
        "options": options_of(folder),
        "training_structures": split_sizes(folder).get("train", 0),
    }


def split_sizes(run: Path) -> dict[str, int]:
    """The number of structures of each split; empty where the run has no such file."""
    file = run / SPLIT
    if not file.exists():
        return {}
    return {split: len(keys) for split, keys in json.loads(file.read_text(encoding="utf-8"))["keys"].items()}


def options_of(run: Path) -> dict[str, str]:
    """The effective options of a run except IGNORED ones; paths are reduced to their last part."""
    config: Any = yaml.safe_load((run / CONFIGURATION).read_text(encoding="utf-8"))
    options = flatten(config)
    without = IGNORED | {name for name, other in OVERRULED.items() if options.get(other)}
    if follow_from_steps(config):
        without |= OF_STEPS
    return {
        name: as_text(value)
        for name, value in options.items()
        if not (isinstance(value, dict) or is_private(name) or {name, name.partition(".")[0]} & without)
    }


def follow_from_steps(config: Any) -> bool:
    """Whether the numbers of epochs follow from trainer.max_steps, as in `experiment=learning_curve`."""
    options = flatten(config)
    names = ("trainer.max_steps", "trainer.max_epochs", "data.split.train", "data.batch_size")
    values: list[Any] = [options.get(name) for name in names]
    if not all(isinstance(value, int | float) for value in values):
        return False
    steps, epochs, structures, batch = values
    return steps > 0 and structures > 1 and epochs == max(1, steps // -(-structures // batch))


def differences(group: list[dict[str, Any]]) -> set[str]:
    """The options that differ between runs; of several options with equal values in every run, the shortest name.

    One that is overruled in some runs is compared among the others.
    """
    names = sorted({name for run in group for name in run["options"]}, key=lambda name: (len(name), name))
    by_values: dict[tuple[str | None, ...], str] = {}
    for name in names:
        values = tuple(run["options"].get(name) for run in group)
        compared = set(values) - {None} if name in OVERRULED else set(values)
        if len(compared) > 1:
            by_values.setdefault(values, name)
    return set(by_values.values())
