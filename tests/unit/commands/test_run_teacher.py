"""The teacher that a run recorded is built of plain data only; others must be named by the user."""

from pathlib import Path

import pytest

from jointkd.commands.run_record import RunRecord
from jointkd.commands.run_teacher import recorded_teacher
from jointkd.errors import TeacherError


def record(folder: Path, **teacher) -> RunRecord:
    return RunRecord(folder, {"teacher": {"name": "mine", "dtype": "float64", **teacher}}, {}, None)


def test_a_directory_of_plain_weights_is_found_in_or_above_the_folder_of_the_run(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "run").mkdir()
    options = {"_target_": "jointkd.teachers.mace.from_checkpoint", "checkpoint": "weights", "python": None}
    spec = recorded_teacher(record(tmp_path / "run", **options))
    assert spec.target == "jointkd.teachers.mace.from_checkpoint"
    assert spec.options == {"name": "mine", "dtype": "float64", "checkpoint": str(tmp_path / "weights")}
    assert spec.python is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "was trained without a teacher"),
        ({"_target_": "os.system", "command": "true"}, "the teacher mine of"),
        (
            {"_target_": "jointkd.teachers.mace.from_checkpoint", "checkpoint": "weights.model"},
            "is code, or its weights",
        ),
        ({"_target_": "jointkd.teachers.mace.from_checkpoint", "checkpoint": None}, "is code, or its weights"),
        ({"_target_": "jointkd.teachers.mace.foundation", "url": "https://example.org/x"}, "is code, or its weights"),
        ({"_target_": "jointkd.teachers.ase.from_calculator", "calculator": "os.system"}, "is code, or its weights"),
        ({"_target_": "jointkd.teachers.student.from_run", "run": "r", "trust": "my.Own"}, "is code, or its weights"),
    ],
)
def test_code_is_not_run_because_a_folder_names_it(tmp_path, options, message):
    (tmp_path / "weights.model").write_bytes(b"a pickle")
    with pytest.raises(TeacherError, match=message) as refused:
        recorded_teacher(record(tmp_path, **options))
    assert "name the teacher with teacher=…, or leave its gates out with teacher=none" in str(refused.value)
