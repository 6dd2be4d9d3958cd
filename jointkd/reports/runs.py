"""Finished runs, gathered by what they have in common: those that differ in their seeds alone are averaged."""

import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from jointkd.cli.config_tree import flatten, is_private
from jointkd.errors import DataError

log = logging.getLogger(__name__)

ORDER = {  # of what the paper has; others follow
    "data": ["monomers", "solvated_aa", "iodine", "pm3m", "yttrium", "bandgap5"],
    "student": ["gemnet_dt", "painn", "gemnet_t"],
    "method": ["none", "atomic_energy", "hessian", "joint"],
}
SYMBOLS = {"width": "width", "energy": "λ_E", "forces": "λ_F", "atomic_energy": "λ_Eatom", "hessian": "λ_H"}


class Setting(NamedTuple):
    """What runs that differ only in their seeds, and in where their files are, have in common."""

    data: str
    teacher: str
    student: str
    width: int  # 0 of a student that has none
    energy: float  # weights of the terms, 0 of those that the method does not have
    forces: float
    atomic_energy: float
    hessian: float
    method: str
    options: str = ""  # others by which runs like these were told apart, with their values

    @classmethod
    def of(cls, run: dict[str, Any]) -> "Setting":
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

    def place(self) -> tuple[Any, ...]:
        """Where it stands in a table."""
        return tuple(
            (known.index(value) if value in known else len(known), value)
            for name, value in self._asdict().items()
            for known in [ORDER.get(name, [])]
        )


Runs = dict[Setting, list[dict[str, Any]]]

IGNORED = {  # seeds, places, and the weights, for those that count are the terms' own and in a `Setting`
    *("seed", "data.seed", "weights", "name", "logger", "ckpt_path", "label.path", "teacher.python"),
    *("data.prepared", "data.source", "data.downloads"),
}


def read_runs(root: Path) -> Runs:
    """Summaries of the finished runs below `root`, by what they have in common.

    Raises DataError where there is none.
    """
    alike: Runs = defaultdict(list)
    for file in sorted(root.rglob("summary.json")):
        run = json.loads(file.read_text())
        if "method" in run:
            alike[Setting.of(run)].append({**run, "folder": file.parent, "options": options_of(file.parent)})
    if not alike:
        raise DataError(f"runs={root} holds no finished runs", "give a folder that training wrote")
    differing: dict[Any, set[str]] = defaultdict(set)  # of all methods, for they are compared with each other
    for setting, group in alike.items():
        differing[setting[:3]] |= differences(group)
    found: Runs = defaultdict(list)
    for setting, group in alike.items():
        for run in group:
            shown = [name for name in sorted(differing[setting[:3]]) if name in run["options"]]
            options = " ".join(f"{name}={run['options'][name]}" for name in shown)
            found[setting._replace(options=options)].append(run)
    for group in found.values():
        if len({run["seed"] for run in group}) < len(group):
            folders = ", ".join(str(run["folder"]) for run in group)
            log.warning("runs of the same seed are averaged, for nothing else tells them apart: %s", folders)
    return dict(sorted(found.items(), key=lambda item: item[0].place()))


def options_of(run: Path) -> dict[str, str]:
    """The effective options of a run but seeds and places; of a file only its name counts."""
    config: Any = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return {
        name: "null" if value is None else str(value).rpartition("/")[2]
        for name, value in flatten(config).items()
        if not (isinstance(value, dict) or is_private(name) or {name, name.partition(".")[0]} & IGNORED)
    }


def differences(group: list[dict[str, Any]]) -> set[str]:
    """The options that differ between runs; of several that always have the same values, that of the shortest name."""
    names = sorted({name for run in group for name in run["options"]}, key=lambda name: (len(name), name))
    found: dict[tuple[str | None, ...], str] = {}
    for name in names:
        taken = tuple(run["options"].get(name) for run in group)
        if len(set(taken)) > 1:
            found.setdefault(taken, name)
    return set(found.values())
