"""What a run leaves in its folder: what it was made from, its metrics, and its student."""

import json
import logging
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from jointkd.data.datamodule import DistillationData
from jointkd.data.splits import hashes
from jointkd.evaluation.teacher_errors import teacher_errors
from jointkd.labels.checks import by_reason
from jointkd.labels.records import TeacherIdentity
from jointkd.labels.store import LabelStore
from jointkd.students.student_file import NAME, SavedStudent, save_student
from jointkd.training.module import DistillationModule

log = logging.getLogger(__name__)


def write_results(
    config: DictConfig,
    directory: Path,
    module: DistillationModule,
    data: DistillationData,
    store: LabelStore | None,
    metrics: dict[str, float],
    started: float,
) -> None:
    """Write summary.json and the student's file, and print the test metrics; started: when the run was, s."""
    student = OmegaConf.to_container(config.student, resolve=True)
    assert isinstance(student, dict)
    run = {
        "method": config.method.name,
        "student": config.student_name,
        "teacher": config.teacher.name,
        "teacher_card": card(store.teacher) if store else None,
        "data": data.name,
        "seed": config.seed,
        "steps": module.trainer.global_step,
        "test": metrics,
    }
    summary = {
        **run,
        "failed_labels": by_reason(store.failed.values()) if store else None,
        "weights": {name: term.weight for name, term in config.method.terms.items()},
        "width": config.student.get("width"),
        "parameters": sum(p.numel() for p in module.student.parameters()),
        "teacher_test": teacher_errors(data, "test") if store else {},
        "started": started,
        "ended": time.time(),
    }
    saved = SavedStudent(
        config={str(name): value for name, value in student.items()},
        weights=module.student.state_dict(),
        reference_energies=data.references.energies if data.references else {},
        origin={"format": "jointkd", "revision": git_revision(), **run},
    )
    save_student(directory / NAME, saved)
    (directory / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    log.info("%s", table(metrics))
    log.info("written to %s", directory)


def write_provenance(config: DictConfig, directory: Path, data: DistillationData, store: LabelStore | None) -> None:
    """Save the effective configuration, split, versions, git revision, and hashes of data and labels beside the run."""
    data.save_split(directory)
    (directory / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
    provenance: dict[str, Any] = {
        "git": git_revision(),
        "versions": {package: version(package) for package in ("jointkd", "torch", "lightning", "torch-geometric")},
        "data": hashes(data.division),
        "teacher": store.teacher.to_json() if store else None,
    }
    (directory / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")


def card(teacher: TeacherIdentity) -> dict[str, Any]:
    """What whoever uses a student must know of its teacher."""
    return {
        "licence": teacher.licence,
        "level_of_theory": teacher.level_of_theory,
        "citation": teacher.citation,
        "elements": [chemical_symbols[z] for z in teacher.elements],
    }


def git_revision() -> str | None:
    """The revision of the source, with `+` where it was changed; None outside a git checkout."""
    here = Path(__file__).parent
    asked = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def table(metrics: dict[str, float]) -> str:
    """Test metrics as aligned lines."""
    return "\n".join(["test", *(f"  {name:<28}{value:10.3f}" for name, value in metrics.items())])


def test_metrics(logged: Mapping[str, float]) -> dict[str, float]:
    """What the trainer logged at its test, by the metrics' own names."""
    return {name.removeprefix("test/"): value for name, value in logged.items()}


@rank_zero_only
def keep_metrics(directory: Path) -> None:
    """Set what was logged before a run goes on aside as metrics-1.csv, -2, …: the logger begins a new file."""
    file = directory / "metrics" / "metrics.csv"
    if file.exists():
        file.rename(file.with_name(f"metrics-{len(list(file.parent.glob('metrics*.csv')))}.csv"))
