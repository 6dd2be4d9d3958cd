"""What a finished run writes, and what becomes of the files of a run that goes on, or is replaced."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jointkd.errors import ConfigError
from jointkd.evaluation.hull import are_crystals
from jointkd.evaluation.teacher_errors import compare_sample, teacher_errors
from jointkd.students.student_file import read_student, target_of
from jointkd.training.run_folder import (
    RunDescription,
    check_unused,
    clear,
    keep_earlier,
    teacher_shares,
    write_results,
)
from jointkd.training.trained_on import trained_on
from tests.toy import FREE, toy_data, toy_frames, toy_module
from tests.unit.data.test_unlabelled import joined

RESULTS = (
    *("summary.json", "config.yaml", "student.safetensors", "student.md", "metrics/metrics.csv"),
    *("test.csv", "parity.npz", "test.png"),
)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The data and the store of a run with results in the folder `run`."""
    data, module = toy_data(tmp_path), toy_module()
    module.set_references(data.references.energies)
    store = data.teacher["train"].store
    module.compared = compare_sample(data, store)
    monkeypatch.setattr(type(module), "trainer", SimpleNamespace(global_step=7))
    options = {"_target_": target_of(type(module.student)), "width": 8, "layers": 2, "radial": 6}
    described = RunDescription("joint", "painn", "toy", 0, {"energy": 5.0}, options, "")
    (tmp_path / "run").mkdir()
    write_results(described, tmp_path / "run", module, data, store, {"force_mae_meV_per_A": 1.0}, started=0.0)
    return data, store


def test_the_teachers_errors_in_the_summary_are_those_on_the_students_test_structures(tmp_path, written):
    data, store = written
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["test"] == {"force_mae_meV_per_A": 1.0}
    assert summary["teacher_test"] == teacher_errors(data, "test") != teacher_errors(data, "train")
    assert summary["teacher_train"] == compare_sample(data, store).metrics


def test_a_run_records_whether_its_test_structures_are_crystals(tmp_path, written):
    data, _ = written
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["crystals"] is False
    periodic = [replace(frame, pbc=np.ones(3, dtype=bool)) for frame in data.frames["test"]]
    assert are_crystals(periodic)
    assert not are_crystals([*periodic, replace(periodic[0], pbc=np.array([True, True, False]))])


@pytest.mark.usefixtures("written")
def test_a_students_file_has_the_references_that_its_energies_are_relative_to(tmp_path):
    assert read_student(tmp_path / "run").reference_energies == FREE


def test_a_run_records_what_of_its_training_data_was_the_teachers_and_what_that_counted_in_the_end(tmp_path):
    data, module = joined(tmp_path, toy_frames(), batch_size=4), toy_module()
    module.terms["hessian"].teachers_share = module.terms["forces"].teachers_share = 0.25
    shares = {"energy": 1.0, "forces": 0.25, "atomic_energy": 1.0, "hessian": 0.25}
    assert teacher_shares(module, data) == shares
    assert trained_on(data)["from_teacher"] == {"energies": 10, "forces": 10}
    assert teacher_shares(module, toy_data(tmp_path / "complete")) == {"atomic_energy": 1.0, "hessian": 0.25}


@pytest.mark.usefixtures("written")
def test_a_finished_run_has_a_model_card_with_what_it_was_trained_on(tmp_path):
    card = (tmp_path / "run" / "student.md").read_text()
    assert card.startswith("# toy_painn_joint\n")
    assert "structures: 18 train, 6 val, 6 test" in card
    assert "- training structures: 3 to 9 atoms, 3 compositions: " in card
    assert "C2H6O (" in card
    assert "- reference energies and forces: those of the data set" in card
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["teacher_shares"] == {
        "atomic_energy": 1.0,
        "hessian": 1.0,
    }
    assert "| force MAE, meV/Å | 1 |" in card


def test_results_are_numbered_as_often_as_a_run_goes_on(tmp_path):
    write(tmp_path, *RESULTS)
    keep_earlier(tmp_path)
    write(tmp_path, "metrics/metrics.csv", "config.yaml")  # and stopped before the end
    keep_earlier(tmp_path)
    assert files(tmp_path) == {
        *("summary-1.json", "config-1.yaml", "config-2.yaml", "student-1.safetensors", "student-1.md"),
        *("test-1.csv", "parity-1.npz", "test-1.png"),
        *("metrics/metrics-1.csv", "metrics/metrics-2.csv"),
    }
    assert (tmp_path / "metrics" / "metrics-1.csv").read_text() == "metrics/metrics.csv"


def test_a_run_that_is_replaced_leaves_nothing_and_files_of_others_stay(tmp_path):
    others = {"config-mine.yaml", "student_best.safetensors", "summary.txt", "checkpoints/readme"}
    write(
        tmp_path,
        *RESULTS,
        "summary-1.json",
        "metrics/metrics-1.csv",
        "checkpoints/best-previous.ckpt",
        "speed.json",
        *others,
    )
    clear(tmp_path)
    assert files(tmp_path) == others


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("summary.json", "holds a finished run; elsewhere, or replace the run with overwrite=true"),
        ("checkpoints/last.ckpt", "holds a run that was stopped; resume it with ckpt_path=last"),
        ("checkpoints/last-previous.ckpt", "holds a run that was stopped"),
    ],
)
def test_a_folder_with_a_run_is_refused(tmp_path, name, problem):
    write(tmp_path, "jointkd.log", "config.yaml")
    check_unused(tmp_path, "elsewhere")
    write(tmp_path, name)
    with pytest.raises(ConfigError, match=problem):
        check_unused(tmp_path, "elsewhere")
