"""The files of a run: its provenance, its metrics, and its student."""

import json
import logging
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols
from lightning.pytorch.utilities import rank_zero_only

from jointkd.data.datamodule import DistillationData
from jointkd.data.splits import hashes
from jointkd.evaluation.metrics import metrics_table
from jointkd.evaluation.teacher_errors import teacher_errors
from jointkd.labels.checks import count_failures
from jointkd.labels.records import TeacherIdentity
from jointkd.labels.store import LabelStore
from jointkd.structures.bonds import equilibrium_lengths
from jointkd.students.student_file import NAME, SavedStudent, save_student
from jointkd.training.module import DistillationModule

log = logging.getLogger(__name__)


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
    """Write summary.json and the student's file, and log the test metrics. started: time stamp of the start, s."""
    result = {
        "method": run.method,
        "student": run.student,
        "teacher": run.teacher,
        "teacher_card": card(store.teacher) if store else None,
        "data": data.name,
        "seed": run.seed,
        "steps": module.trainer.global_step,
        "test": metrics,
    }
    summary = {
        **result,
        "failed_labels": count_failures(store.failed.values()) if store else None,
        "weights": run.weights,
        "width": run.student_options.get("width"),
        "parameters": sum(p.numel() for p in module.student.parameters()),
        "teacher_test": teacher_errors(data, "test") if store else {},
        "started": started,
        "ended": time.time(),
    }
    saved = SavedStudent(
        config=run.student_options,
        weights=module.student.state_dict(),
        reference_energies=data.references.energies if data.references else {},
        origin={
            "format": "jointkd",
            "revision": git_revision(),
            **result,
            "bond_lengths": equilibrium_lengths(data.frames["train"]),
        },
    )
    save_student(directory / NAME, saved)
    (directory / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    log.info("%s", metrics_table(metrics))
    log.info("written to %s", directory)


def write_provenance(run: RunDescription, directory: Path, data: DistillationData, store: LabelStore | None) -> None:
    """Write the configuration, the split, versions, the git revision, and hashes of the data to the run's folder."""
    data.save_split(directory)
    (directory / "config.yaml").write_text(run.configuration)
    provenance: dict[str, Any] = {
        "git": git_revision(),
        "versions": {package: version(package) for package in ("jointkd", "torch", "lightning")},
        "data": hashes(data.division),
        "teacher": store.teacher.to_json() if store else None,
    }
    (directory / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")


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
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@rank_zero_only
def keep_metrics(directory: Path) -> None:
    """Rename the metrics of a run that is resumed to metrics-1.csv, -2, …, because the logger starts a new file."""
    file = directory / "metrics" / "metrics.csv"
    if file.exists():
        file.rename(file.with_name(f"metrics-{len(list(file.parent.glob('metrics*.csv')))}.csv"))
