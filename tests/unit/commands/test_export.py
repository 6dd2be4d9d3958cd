"""What python -m jointkd.export writes beside the package."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from jointkd.commands import export as export_command
from jointkd.students.student_file import SavedStudent, read_student, save_student
from tests.unit.deploy.test_ase import CONSERVATIVE, PAINN, student_file

FORMATS = Path(__file__).parents[2] / "fixtures" / "formats"
MADE = Path(__file__).parents[2] / "fixtures" / "made_by_0_1"
RUN = "outputs/molecules_painn_joint_seed0/2026-11-26_07-31-35"
ORIGIN = {"data": "molecules", "student": "painn", "method": "joint", "seed": 0, "steps": 2, "test": {}}


@pytest.fixture
def direct(tmp_path: Path) -> Path:
    """The folder of a run whose student has a force head; its prepared set is in outputs/data."""
    shutil.copytree(MADE, tmp_path, dirs_exist_ok=True)
    run = tmp_path / RUN
    saved = read_student(
        student_file(tmp_path, {**PAINN, "layers": 1, "width": 4}, {1: -13.0, 6: -1030.0, 7: 0.0, 8: 0.0})
    )
    save_student(run / "student.safetensors", SavedStudent(*saved[:3], ORIGIN))
    (run / "summary.json").write_text(json.dumps(ORIGIN))
    return run


def test_a_package_has_a_model_card_beside_it(command, tmp_path, monkeypatch):
    student_file(tmp_path, {**CONSERVATIVE[0], "layers": 1, "width": 4})
    package = gzip.decompress((FORMATS / "package-1.pt2.gz").read_bytes())

    def exported(run: str, to: str, output: str, **others: object) -> Path:
        Path(output).write_bytes(package)
        return Path(output)

    monkeypatch.setattr(export_command, "export", exported)
    assert command("export", "run=student.safetensors", "to=exported", "output=fast.pt2").status == 0
    card = (tmp_path / "fast.pt2.md").read_text()
    assert "| package | exported, float64; for torch " in card
    assert "- student: student.safetensors, SHA-256 " in card


def test_a_card_that_is_there_is_not_replaced_and_nothing_is_written(command, tmp_path):
    student_file(tmp_path, CONSERVATIVE[0])
    (tmp_path / "fast.pt2.md").write_text("mine")
    refused = command("export", "run=student.safetensors", "to=exported", "output=fast.pt2")
    assert refused.status == 1
    assert "output=fast.pt2.md exists already; name another file with output=…" in refused.err
    assert (tmp_path / "fast.pt2.md").read_text() == "mine"
    assert not (tmp_path / "fast.pt2").exists()


def test_direct_forces_are_exported_with_a_warning_and_the_drift_that_was_measured(command, direct):
    done = command("export", f"run={direct}", "to=none")
    assert done.status == 0
    assert "forces are not the gradient of its energy: the total energy drifts, " in done.out + done.err
    card = (direct / "student.md").read_text()
    assert "Without a thermostat the total energy drifts by " in card
    assert "- dynamics that must conserve energy (drift: measured: " in card


def test_without_a_structure_the_drift_is_not_measured_which_the_card_says(command, direct, tmp_path):
    shutil.rmtree(tmp_path / "outputs" / "data")
    done = command("export", f"run={direct}", "to=none")
    assert done.status == 0
    assert "the total energy drifts, not measured" in done.out + done.err
    assert "(drift: not measured)" in (direct / "student.md").read_text()


def test_a_card_that_is_written_alone_is_not_replaced_either(command, direct):
    (direct / "student.md").write_text("mine")
    assert "student.md exists already" in command("export", f"run={direct}", "to=none").err
    assert command("export", f"run={direct}", "to=none", "output=card.md").status == 0
    assert (direct / "student.md").read_text() == "mine"
