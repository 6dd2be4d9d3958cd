"""The zero of a teacher's atomic energies for students of one data set."""

import json
import shutil

import pytest

from jointkd.commands.alignments import shifts_of
from jointkd.labels.store import LabelStore
from jointkd.students.student_file import read_student
from tests.unit.commands.test_evaluate import LABELS, MADE, RUN

HERE = {"path": str(MADE / "molecules.xyz")}, str(LABELS), None


@pytest.fixture
def runs(tmp_path):
    """A run without a teacher, and one with."""
    without = tmp_path / "none"
    shutil.copytree(RUN, without)
    provenance = json.loads((without / "provenance.json").read_text(encoding="utf-8"))
    (without / "provenance.json").write_text(json.dumps({**provenance, "teacher": None}), encoding="utf-8")
    return [without, RUN]


def shifts(runs, *places):
    saved = read_student(RUN)
    of_all = [saved.origin] * len(runs), [saved.reference_energies] * len(runs)
    return shifts_of(runs, *of_all, LabelStore.open(LABELS, read_only=True).teacher, *places)


def test_a_run_without_a_teacher_takes_the_shift_of_one_with(runs, caplog):
    caplog.set_level("INFO")
    without, of_teacher = shifts(runs, *HERE)
    assert without == of_teacher
    assert set(of_teacher) == {1, 6, 7, 8}
    assert caplog.text.count("teacher energies aligned to the reference data") == 1
    assert "not brought to one zero" not in caplog.text


def test_without_labels_a_line_for_each_run_says_why_there_is_none(runs, caplog, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    alone = [shutil.copytree(run, tmp_path / "elsewhere" / run.name) for run in runs]
    assert shifts(alone, HERE[0], None, None) == [None, None]
    for run in alone:
        assert f"{run}: teacher and student are not brought to one zero of energy: " in caplog.text
