"""Fine-tuning: what is taken from the student, what stays as the user says, and what is refused."""

import json
from pathlib import Path

import pytest
import yaml

from jointkd.students.student_file import read_student, save_student
from tests.files import isolated, molecules, saved

SMALL = ("student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=3.5", "student.conservative=true")
DATA = ("data=extxyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces", "teacher=none", "method=none")
SHORT = ("trainer.max_epochs=1", "logger=none")


@pytest.fixture
def student(command, tmp_path) -> Path:
    """The folder of a run on structures with isolated atoms, and the file of others without any."""
    saved(tmp_path / "old.xyz", [*isolated(), *molecules(20)])
    saved(tmp_path / "new.xyz", molecules(20, seed=1))
    trained = command("train", *DATA, *SMALL, *SHORT, "data.path=old.xyz", "hydra.run.dir=old")
    assert trained.status == 0, trained.err
    return tmp_path / "old"


def options(folder: Path) -> dict:
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))


def test_the_student_goes_on_with_its_architecture_its_references_and_a_small_rate(command, tmp_path, student):
    tuned = command("train", *DATA, *SHORT, "finetune=old", "data.path=new.xyz", "hydra.run.dir=new")
    assert tuned.status == 0, tuned.err
    before, after = options(student), options(tmp_path / "new")
    assert after["student"] == before["student"]
    assert after["optimizer"]["lr"] == pytest.approx(0.1 * before["optimizer"]["lr"])
    old, new = read_student(student), read_student(tmp_path / "new")
    assert new.reference_energies == old.reference_energies
    assert json.loads((tmp_path / "new" / "summary.json").read_text())["width"] == 8
    moved = max(float((new.weights[name] - weight).abs().max()) for name, weight in old.weights.items())
    assert 0 < moved < 2e-3  # a few steps of that rate away from its weights


def test_options_on_the_command_line_stay(command, tmp_path, student):
    given = ("optimizer.lr=0.002", "data.reference_energies=fit")
    tuned = command("train", *DATA, *SHORT, *given, "finetune=old", "data.path=new.xyz", "hydra.run.dir=new")
    assert tuned.status == 0, tuned.err
    assert options(tmp_path / "new")["optimizer"]["lr"] == 0.002
    assert read_student(tmp_path / "new").reference_energies != read_student(student).reference_energies


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["student.width=16"], "finetune=old has width=8, but student.width=16 is given; leave out student.width"),
        (["student=gemnet_dt"], "but student is jointkd.students.gemnet.GemNet; add student=painn"),
        (["student_weights=old"], "finetune and student_weights name two students; give one of them"),
        (["finetune=nowhere"], "finetune=nowhere does not exist"),
    ],
)
def test_what_contradicts_the_student_is_refused(command, student, given, message):
    refused = command("train", *DATA, *SHORT, "finetune=old", *given, "data.path=new.xyz", "hydra.run.dir=new")
    assert refused.status == 1
    assert message in refused.err
    assert len(refused.err.splitlines()) == 1


def test_the_class_that_a_file_names_is_not_imported(command, tmp_path, student):
    file = student / "student.safetensors"
    contents = read_student(file)
    save_student(file, contents._replace(config={"_target_": "antigravity.Student", "width": 8}))
    refused = command("train", *DATA, *SHORT, "finetune=old", "data.path=new.xyz", "hydra.run.dir=new")
    assert refused.status == 1
    assert "is of antigravity.Student, but student is jointkd.students.painn.PaiNN" in refused.err
