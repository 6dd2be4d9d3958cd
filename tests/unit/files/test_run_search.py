"""A folder that is not that of a finished run: what it is instead."""

import pytest

from jointkd.commands.run_record import RunRecord
from jointkd.errors import DataError
from jointkd.files.run_search import instead_of_run
from jointkd.students.student_file import read_student


def file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_of_a_sweep_one_of_its_runs_is_named(tmp_path):
    file(tmp_path / "none" / "0" / "summary.json")
    assert instead_of_run(tmp_path) == f"give the run in it, {tmp_path / 'none' / '0'}"
    file(tmp_path / "joint" / "1" / "summary.json")
    assert instead_of_run(tmp_path) == f"give one of the runs in it, such as {tmp_path / 'joint' / '1'}"


def test_a_run_that_was_stopped_is_to_be_finished(tmp_path):
    file(tmp_path / "checkpoints" / "last.ckpt")
    assert f"ckpt_path=last hydra.run.dir={tmp_path}" in instead_of_run(tmp_path)


def test_of_another_folder_nothing_is_said(tmp_path):
    assert instead_of_run(tmp_path) == "give the folder of a finished run, as training printed it"


@pytest.mark.parametrize("read", [RunRecord.read, read_student])
def test_commands_say_it(tmp_path, read):
    file(tmp_path / "joint" / "summary.json")
    with pytest.raises(DataError, match=r"give the run in it, .*joint$"):
        read(tmp_path)
