"""What becomes of the files of a run that goes on, or is replaced."""

from pathlib import Path

import pytest

from jointkd.errors import ConfigError
from jointkd.training.run_folder import check_unused, clear, keep_earlier

RESULTS = ("summary.json", "config.yaml", "student.safetensors", "metrics/metrics.csv")


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)


def files(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_results_are_numbered_as_often_as_a_run_goes_on(tmp_path):
    write(tmp_path, *RESULTS)
    keep_earlier(tmp_path)
    write(tmp_path, "metrics/metrics.csv", "config.yaml")  # and stopped before the end
    keep_earlier(tmp_path)
    assert files(tmp_path) == {
        *("summary-1.json", "config-1.yaml", "config-2.yaml", "student-1.safetensors"),
        *("metrics/metrics-1.csv", "metrics/metrics-2.csv"),
    }
    assert (tmp_path / "metrics" / "metrics-1.csv").read_text() == "metrics/metrics.csv"


def test_a_run_that_is_replaced_leaves_nothing_and_files_of_others_stay(tmp_path):
    others = {"config-mine.yaml", "student_best.safetensors", "summary.txt", "checkpoints/readme"}
    write(tmp_path, *RESULTS, "summary-1.json", "metrics/metrics-1.csv", "checkpoints/best-previous.ckpt", *others)
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
