"""Folders of results: names that cannot collide, and no empty ones."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from jointkd.files.folders import claim_folder, removed_if_unused


def test_commands_that_begin_in_the_same_second_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(claim_folder, [tmp_path / "runs"] * 40))
    assert len(set(names)) == 40
    assert {folder.name for folder in (tmp_path / "runs").iterdir()} == set(names)


def test_the_tasks_of_each_command_of_a_slurm_step_share_a_folder(tmp_path, monkeypatch):
    for name, value in {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0"}.items():
        monkeypatch.setenv(name, value)
    names = []
    for _ in range(2):  # two commands that are typed into one step, each of two tasks
        for task in ("0", "1"):
            monkeypatch.setenv("SLURM_PROCID", task)
            names.append(claim_folder(tmp_path))
    assert names == ["slurm-17.0", "slurm-17.0", "slurm-17.0-2", "slurm-17.0-2"]


def test_a_command_that_fails_before_it_writes_leaves_no_folder(tmp_path):
    folder = tmp_path / "name" / "date"
    folder.mkdir(parents=True)
    (folder / "jointkd.log").touch()
    with pytest.raises(ValueError, match="wrong"), removed_if_unused(folder):
        raise ValueError("wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("written", ["config.yaml", "checkpoints/jointkd.log"])
def test_a_folder_that_holds_anything_stays(tmp_path, written):
    folder = tmp_path / "date"
    (folder / written).parent.mkdir(parents=True)
    (folder / written).touch()
    (folder / "jointkd.log").touch()
    with pytest.raises(ValueError, match="wrong"), removed_if_unused(folder):
        raise ValueError("wrong")
    assert (folder / "jointkd.log").exists()


def test_the_log_of_another_command_stays(tmp_path):
    (tmp_path / "jointkd.log").write_text("labels of 17 structures")
    with pytest.raises(ValueError, match="wrong"), removed_if_unused(tmp_path):
        raise ValueError("wrong")
    assert (tmp_path / "jointkd.log").exists()


def test_the_folder_stays_where_a_command_works_in_it_or_another_process_does(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    (tmp_path / "date").mkdir()
    with pytest.raises(ValueError, match="wrong"), removed_if_unused(tmp_path / "date"):
        raise ValueError("wrong")
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.chdir(tmp_path / "date")
    with pytest.raises(ValueError, match="wrong"), removed_if_unused(tmp_path / "date"):
        raise ValueError("wrong")
    assert os.listdir(tmp_path) == ["date"]
