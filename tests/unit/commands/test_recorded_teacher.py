"""The teacher that runs record is built only where their folders name data."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from jointkd.commands.recorded_teacher import recorded_teacher
from tests.unit.commands.test_evaluate import RUN


@pytest.fixture
def run(tmp_path) -> Path:
    shutil.copytree(RUN, tmp_path / "run")
    return tmp_path / "run"


def record(folder: Path, **teacher) -> None:
    """Write another teacher into a run's configuration."""
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config["teacher"] = {"name": "mace", "dtype": "float64", **teacher}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


CALCULATOR = {
    "_target_": "jointkd.teachers.ase.from_calculator",
    "calculator": "tests.torsion.TwoFold",
    "options": None,
    "displacement": 0.002,
}


def test_a_calculator_is_built_with_consent_alone(run, caplog):
    caplog.set_level("INFO")
    record(run, **CALCULATOR)
    assert recorded_teacher([run], None) is None
    assert "it is code of its own, which trust=tests.torsion.TwoFold admits" in caplog.text
    teacher = recorded_teacher([run], "tests.torsion.TwoFold")
    assert teacher is not None
    assert teacher.identity.name == "mace"
    assert "is another one than that of the runs" in caplog.text


@pytest.mark.parametrize(
    ("teacher", "reason"),
    [
        ({"_target_": "os.system", "command": "touch ran"}, "of a kind that is not built"),
        (
            {"_target_": "jointkd.teachers.ensemble.of_checkpoints", "member": {"_target_": "os.system"}},
            "of a kind that",
        ),
        (
            {"_target_": "jointkd.teachers.mace.foundation", "size": "large", "url": "http://x/a.model"},
            "a model from a URL",
        ),
        ({"_target_": "jointkd.teachers.mace.foundation", "size": {"_target_": "os.getcwd"}}, "name other objects"),
        ({"_target_": "jointkd.teachers.mace.from_checkpoint", "checkpoint": "evil.model"}, "is a pickle"),
        ({"_target_": "jointkd.teachers.mace.from_checkpoint", "checkpoint": "gone.model"}, "gone.model is not here"),
        ({"_target_": "jointkd.teachers.student.from_run", "run": "gone.safetensors"}, "its file is not here"),
    ],
)
def test_what_may_run_code_of_others_is_left_out_with_its_reason(run, caplog, monkeypatch, teacher, reason):
    caplog.set_level("INFO")
    monkeypatch.chdir(run)
    (run / "evil.model").write_bytes(b"not even a pickle")
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("it was run"))
    monkeypatch.setitem(sys.modules, "mace", None)
    record(run, **teacher)
    assert recorded_teacher([run], None) is None
    assert reason in caplog.text
    assert "name one with teacher=…, or leave it out with teacher=none" in caplog.text


def test_a_student_as_teacher_is_data(run):
    record(
        run,
        _target_="jointkd.teachers.student.from_run",
        run="student.safetensors",
        device="cpu",
        batch_atoms=None,
    )
    teacher = recorded_teacher([run], None)
    assert teacher is not None
    assert 1 in teacher.identity.elements


def test_folders_without_a_run_and_runs_of_several_teachers_have_none(run, tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "empty").mkdir()
    assert recorded_teacher([tmp_path / "empty"], None) is None
    assert "no teacher: none of the students has the folder of a run that records one" in caplog.text
    shutil.copytree(run, tmp_path / "other")
    provenance = tmp_path / "other" / "provenance.json"
    provenance.write_text(provenance.read_text().replace('"name": "mace"', '"name": "better"'))
    assert recorded_teacher([run, tmp_path / "other"], None) is None
    assert "no teacher: the runs record several (better" in caplog.text
