"""The students that options name."""

from pathlib import Path

import pytest

from jointkd.commands.force_fields import find_students
from jointkd.errors import DataError
from tests.unit.deploy.test_ase import PAINN, student_file


@pytest.fixture
def runs(tmp_path) -> Path:
    """Two runs below a folder, with other files beside the students."""
    for name in ("a", "b"):
        student_file(tmp_path, PAINN).rename(folder(tmp_path / name) / "student.safetensors")
        (tmp_path / name / "test.csv").write_text("structure,atoms")
    return tmp_path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_of_what_a_pattern_names_students_are_taken_and_each_once(runs, caplog):
    caplog.set_level("INFO")
    for pattern in ("*", "*/*", "*/student.*"):
        found = find_students({"run": str(runs / pattern), "runs": None})
        assert [path.name if path.is_dir() else path.parent.name for path in found] == ["a", "b"]
    assert not caplog.records
    with pytest.raises(DataError, match="is no folder of a finished run"):
        find_students({"run": str(runs / "*" / "*.csv"), "runs": None})
    with pytest.raises(DataError, match="is not a student file"):
        find_students({"run": str(runs / "a" / "test.csv"), "runs": None})


def test_a_student_that_is_named_twice_is_taken_once_and_said(runs, caplog):
    caplog.set_level("INFO")
    names = [str(runs / "a"), str(runs / "a" / "student.safetensors"), str(runs / "b")]
    assert [path.name for path in find_students({"run": names, "runs": None})] == ["student.safetensors", "b"]
    assert caplog.messages == ["1 of 3 names are those of other students, which are taken once"]
