"""Sweeps with every launcher for one machine, and with DDP, started as from a shell."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.files import isolated, molecules, saved

TINY = [
    "data=extxyz",
    "data.path=mine.xyz",
    "data.energy_key=REF_energy",
    "data.forces_key=REF_forces",
    "data.batch_size=4",
    "student.width=8",
    "student.layers=1",
    "student.radial=4",
    "student.cutoff=3",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "teacher=none",
    "method=none",
    "hydra.sweep.dir=sweep",
]


def sweep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    saved(folder / "mine.xyz", [*isolated(), *molecules(20)])
    line = [sys.executable, "-m", "jointkd.train", "-m", *TINY, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def finished(folder: Path) -> dict[int, dict]:
    summaries = [json.loads(file.read_text()) for file in (folder / "sweep").rglob("summary.json")]
    assert len({summary["seed"] for summary in summaries}) == len(summaries)
    return {summary["seed"]: summary for summary in summaries}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [["joblib", "hydra.launcher.n_jobs=2"], ["submitit_local"]])
def test_two_runs_of_a_sweep_run_at_the_same_time(tmp_path, launcher):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    done = sweep(tmp_path, f"hydra/launcher={launcher[0]}", *launcher[1:], "seed=0,1")
    assert done.returncode == 0, done.stderr
    assert set(finished(tmp_path)) == {0, 1}


@pytest.mark.slow
def test_the_runs_of_a_sweep_with_ddp_give_the_results_of_one_process(tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    done = sweep(tmp_path / "two", "trainer=ddp", "trainer.devices=2", "seed=0,1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("MEMBER: 2/2") >= 2
    single = sweep(tmp_path / "one", "seed=0,1")
    assert single.returncode == 0, single.stderr
    two, one = finished(tmp_path / "two"), finished(tmp_path / "one")
    assert set(two) == set(one) == {0, 1}
    for seed, summary in one.items():
        assert two[seed]["steps"] == summary["steps"] == 4
        assert two[seed]["test"] == pytest.approx(summary["test"], rel=1e-4)  # float32


@pytest.mark.slow
def test_ddp_is_refused_in_one_line_if_runs_run_at_the_same_time(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    options = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer=ddp", "trainer.devices=2", "seed=0,1"]
    done = sweep(tmp_path, *options)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Error executing job with overrides:")]
    (error,) = set(lines)  # of one run or both; Hydra's own line names the run
    assert error.startswith("ConfigError: trainer.devices=2 is not possible with this launcher of a sweep")
    assert "Traceback" not in done.stderr
