"""Whose data and teacher a student samples with."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from jointkd.commands.sample import with_those_of_run
from jointkd.errors import DataError

DEMO = {"name": "demo", "max_force": 5.0}
MINE = {"_target_": "jointkd.data.options.FileData", "path": "mine.xyz", "max_force": 50.0}
MACE = {"_target_": "jointkd.teachers.mace.foundation", "size": "small", "python": "elsewhere/bin/python"}


@pytest.fixture
def run(tmp_path) -> Path:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": MINE, "teacher": MACE}))
    return tmp_path


def sampled(mover: str | Path, *given: str, trust: str | None = None):
    config = OmegaConf.create({"with": str(mover), "data": DEMO, "teacher": {"name": "demo"}, "trust": trust})
    return with_those_of_run(config, given)


def test_a_student_samples_with_data_and_teacher_of_its_run(run, caplog):
    with caplog.at_level("INFO"):
        config = sampled(run, f"with={run}", "steps=9")
    assert config.data == MINE
    assert config.teacher == {**MACE, "python": None}
    assert f"data and teacher of the run with={run}: others are chosen with data=" in caplog.text


def test_what_the_user_chooses_stays(run):
    config = sampled(run, "data=demo")
    assert (config.data, config.teacher.size) == (DEMO, "small")
    assert sampled(run, "teacher=demo").teacher == {"name": "demo"}
    both = sampled(run, "data=demo", "teacher=demo")
    assert (both.data, both.teacher) == (DEMO, {"name": "demo"})
    assert sampled(run, "data.max_force=5").data == {**MINE, "max_force": 5.0}


@pytest.mark.parametrize("mover", ["teacher", "student.safetensors"])
def test_without_the_folder_of_a_run_nothing_is_taken_from_one(run, monkeypatch, mover):
    monkeypatch.chdir(run)
    Path("student.safetensors").touch()
    assert sampled(mover).data == DEMO


def test_code_in_the_run_needs_trust(run):
    own = {"_target_": "jointkd.teachers.ase.from_calculator", "calculator": "mine.Springs"}
    (run / "config.yaml").write_text(yaml.safe_dump({"data": MINE, "teacher": own}))
    with pytest.raises(DataError, match=r"names mine\.Springs.*add trust=mine\.Springs"):
        sampled(run)
    assert sampled(run, trust="mine.Springs").teacher.calculator == "mine.Springs"
    assert sampled(run, "teacher=demo").data == MINE
