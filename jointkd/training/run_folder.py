"""The files of a run: its provenance, its metrics, and its student."""

import itertools
import json
import logging
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols

from jointkd.data.datamodule import DistillationData
from jointkd.data.splits import hashes
from jointkd.deploy.card_facts import facts_of
from jointkd.deploy.model_card import card_text
from jointkd.errors import ConfigError
from jointkd.evaluation.hull import are_crystals
from jointkd.evaluation.metrics import metrics_table
from jointkd.evaluation.teacher_errors import teacher_errors
from jointkd.files.atomic import write_whole
from jointkd.files.run_files import (
    CARD,
    CHECKPOINTS,
    CONFIGURATION,
    PARITY,
    PARITY_PLOT,
    PROVENANCE,
    STUDENT,
    SUMMARY,
    TESTED_STRUCTURES,
)
from jointkd.labels.checks import count_failures
from jointkd.labels.records import TeacherIdentity
from jointkd.labels.store import LabelStore
from jointkd.runtime import hardware
from jointkd.structures.bonds import equilibrium_lengths
from jointkd.students.student_file import SavedStudent, save_student
from jointkd.training.checkpoint_files import exists
from jointkd.training.element_energies import element_energies
from jointkd.training.module import DistillationModule
from jointkd.training.trained_on import trained_on
from jointkd.training.uncertainty_fit import fit_uncertainty

log = logging.getLogger(__name__)

REPLACED = (
    SUMMARY,
    CONFIGURATION,
    STUDENT,
    CARD,
    "metrics/metrics.csv",
    TESTED_STRUCTURES,
    PARITY,
    PARITY_PLOT,
)  # by a run that goes on


@dataclass(frozen=True)
class RunDescription:
    """The parts of a run's configuration that its files record."""

    method: str
    student: str
    teacher: str
    seed: int
    weights: dict[str, float]  # of the terms of the loss, by name
    student_options: dict[str, Any]  # `_target_` and the arguments of the student's constructor
    configuration: str  # the whole configuration as YAML


def write_results(
    run: RunDescription,
    directory: Path,
    module: DistillationModule,
    data: DistillationData,
    store: LabelStore | None,
    metrics: dict[str, float],
    started: float,
) -> None:
    """Write summary.json, the student's file and its model card, and log the test metrics.

    started: time stamp of the start, s.
    """
    own = teacher_errors(data, "test") if store else {}
    result = {
        "method": run.method,
        "student": run.student,
        "teacher": run.teacher,
        "teacher_card": card(store.teacher) if store else None,
        "data": data.name,
        "seed": run.seed,
        "steps": module.trainer.global_step,
        "test": metrics,
        "teacher_test": own,
        "trained_on": trained_on(data),
        "teacher_shares": teacher_shares(module, data),
    }
    summary = {
        **result,
        "failed_labels": count_failures(store.failed.values()) if store else None,
        "training_structures": len(data.frames["train"]),
        "from_teacher": data.from_teacher,
        "weights": run.weights,
        "width": run.student_options.get("width"),
        "parameters": sum(p.numel() for p in module.student.parameters()),
        "teacher_train": module.compared.metrics if module.compared else {},
        "elements": element_energies(module, data),
        "crystals": are_crystals(data.frames["test"]),
        "started": started,
        "ended": time.time(),
    }
    saved = SavedStudent(
        config=run.student_options,
        weights=module.student.state_dict(),
        reference_energies=student_references(module, data),
        origin={
            "format": "jointkd",
            "revision": git_revision(),
            **result,
            "bond_lengths": equilibrium_lengths(data.frames["train"]),
        },
        undetermined=data.references.undetermined if data.references else (),
        uncertainty=fit_uncertainty(module, data),
    )
    save_student(directory / STUDENT, saved)
    facts = facts_of(saved, module.student, summary)
    write_whole(directory / CARD, card_text(facts).encode())
    log.info("%s", metrics_table(metrics))
    if any(term.teacher and term.teachers_share for term in module.terms.values()):
        warn_of_teacher(own, metrics)
    write_whole(directory / SUMMARY, (json.dumps(summary, indent=2) + "\n").encode())  # last: the run is finished
    log.info("written to %s", directory)


def teacher_shares(module: DistillationModule, data: DistillationData) -> dict[str, float]:
    """The share of its weight that each term had at the end, for terms that learn from the teacher's labels."""
    terms = module.terms.items()
    return {name: term.teachers_share for name, term in terms if term.learns_from_teacher(data.from_teacher)}


def warn_of_teacher(teacher: Mapping[str, float], student: Mapping[str, float]) -> None:
    """Log a warning where the student's forces are closer to the reference data than the teacher's."""
    name = "force_mae_meV_per_A"
    if student.get(name, 0.0) < teacher.get(name, 0.0):
        log.warning(
            "the student's forces (%.0f meV/Å) are better than its teacher's (%.0f meV/Å) on the test split: a teacher "
            "that counts to the end may then have made it worse than the data alone would; compare with method=none",
            student[name],
            teacher[name],
        )


def write_provenance(
    run: RunDescription, directory: Path, data: DistillationData, store: LabelStore | None, device: torch.device
) -> None:
    """Write the configuration, the split, versions, the git revision, the hardware, and hashes of the data.

    device: that of the training.
    """
    data.save_split(directory)
    write_whole(directory / CONFIGURATION, run.configuration.encode())
    provenance: dict[str, Any] = {
        "git": git_revision(),
        "versions": {package: version(package) for package in ("jointkd", "torch", "lightning")},
        "hardware": hardware(device),
        "data": hashes(data.division),
        "teacher": store.teacher.to_json() if store else None,
    }
    write_whole(directory / PROVENANCE, (json.dumps(provenance, indent=2) + "\n").encode())


def card(teacher: TeacherIdentity) -> dict[str, Any]:
    """The facts about a teacher that users of its student must know."""
    return {
        "licence": teacher.licence,
        "level_of_theory": teacher.level_of_theory,
        "citation": teacher.citation,
        "elements": [chemical_symbols[z] for z in teacher.elements],
    }


def git_revision() -> str | None:
    """The revision of the source, with `+` for uncommitted changes; None outside a git checkout."""
    folder = Path(__file__).parent
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # a process that is killed here leaves no lock behind
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def check_unused(directory: Path, remedy: str) -> None:
    """Raise ConfigError for a folder that holds a run, finished or not. remedy: how to choose another folder."""
    if (directory / SUMMARY).exists():
        raise ConfigError(f"{directory} holds a finished run", f"{remedy}, or replace the run with overwrite=true")
    if exists(directory / CHECKPOINTS / "last.ckpt"):
        raise ConfigError(
            f"{directory} holds a run that was stopped",
            f"resume it with ckpt_path=last, or {remedy}, or replace the run with overwrite=true",
        )


def clear(directory: Path) -> None:
    """Remove the results of a run, with those that it had before it went on."""
    kept = [f"{Path(name).with_suffix('')}-[0-9]*{Path(name).suffix}" for name in REPLACED]
    for pattern in (*REPLACED, *kept, "checkpoints/*.ckpt", "speed*.json"):  # speeds are those of another student
        for file in directory.glob(pattern):
            file.unlink()


def keep_earlier(directory: Path) -> None:
    """Rename what a run that goes on would replace: metrics.csv to metrics-1.csv, -2, …, and likewise the others."""
    for file in (directory / name for name in REPLACED):
        free = (file.with_name(f"{file.stem}-{number}{file.suffix}") for number in itertools.count(1))
        if file.exists():
            file.rename(next(path for path in free if not path.exists()))


def student_references(module: DistillationModule, data: DistillationData) -> dict[int, float]:
    """eV by atomic number of the data: the reference energies to which the student's energies are relative."""
    known = data.references.energies if data.references else {}
    return {z: float(module.reference_energies[z]) for z in known}
