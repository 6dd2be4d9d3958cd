"""A data set is prepared once, by `prepare` or the first command that needs it, and every run saves its split."""

import json
import os
import subprocess
import sys

import pytest

from tests.files import molecules, saved

OWN = ("data=extxyz", "data.path=mine.xyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces")
SMALL = ("student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=3", "trainer.max_epochs=1")
TRAIN = (*OWN, "teacher=none", "method=none", *SMALL)


@pytest.fixture
def mine(tmp_path):
    return saved(tmp_path / "mine.xyz", molecules(30))


@pytest.mark.usefixtures("mine")
def test_a_report_is_printed_and_written_with_a_plot(command, tmp_path):
    result = command("prepare", *OWN, *SMALL, "data.group_key=molecule", "data.report=true")
    assert result.status == 0, result.err
    folder = tmp_path / "outputs" / "prepare" / "mine"
    report = (folder / "report.txt").read_text()
    assert report in result.out
    assert "30 structures, 140 atoms" in report
    assert "100 % of the groups (molecules, materials) of test also occur in train" in result.out
    assert (folder / "report.png").stat().st_size > 10_000
    assert len(json.loads((folder / "split.json").read_text())["keys"]["train"]) == 24


def test_training_uses_the_prepared_set_and_a_saved_split(command, tmp_path, mine, monkeypatch):
    assert command("prepare", *OWN, *SMALL).status == 0
    (prepared,) = (tmp_path / "outputs" / "data").glob("mine-*")
    assert (prepared / "neighbors-3").is_dir()
    monkeypatch.setattr("jointkd.data.readers.xyz_blocks.read", lambda *arguments: pytest.fail("read again"))
    result = command("train", *TRAIN)
    assert result.status == 0, result.err
    (first,) = (tmp_path / "outputs").glob("mine_painn_none_seed0/*")
    split = first / "split.json"
    result = command("train", *TRAIN, f"data.split.path={split}", "data.split.seed=5", "seed=1")
    assert result.status == 0, result.err
    (again,) = (tmp_path / "outputs").glob("mine_painn_none_seed1/*")
    assert json.loads((again / "split.json").read_text())["keys"] == json.loads(split.read_text())["keys"]
    hashes = [json.loads((run / "provenance.json").read_text())["data"] for run in (first, again)]
    assert hashes[0] == hashes[1]
    monkeypatch.undo()
    saved(mine, molecules(33))
    result = command("train", *TRAIN, f"data.split.path={split}")
    assert result.status == 1
    assert f"mine.xyz changed since {prepared.relative_to(tmp_path)} was prepared; preparing again" in result.out
    assert "3 of 33 structures of the data are not in data.split.path" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.usefixtures("mine")
def test_a_damaged_set_gives_a_one_line_error_with_the_folder_to_delete(command, tmp_path):
    assert command("prepare", *OWN, *SMALL).status == 0
    (prepared,) = (tmp_path / "outputs" / "data").glob("mine-*")
    (prepared / "positions.npy").write_bytes((prepared / "positions.npy").read_bytes()[:-8])
    result = command("train", *TRAIN)
    assert result.status == 1
    assert f"move the folder {prepared.relative_to(tmp_path)} away" in result.err
    assert result.err.count("\n") == 1


def test_help_does_not_import_torch(tmp_path):
    line = [sys.executable, "-X", "importtime", "-m", "jointkd.prepare", "--help"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert done.returncode == 0
    assert "data.report=true" in done.stdout
    assert not imported & {"torch", "lightning", "ase", "numpy"}
    assert not list(tmp_path.iterdir())
