"""What a run has written is never lost to another command."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from jointkd.cli.command import print_anything
from tests.files import isolated, molecules, saved

OPTIONS = (
    *("data=extxyz", "data.path=mine.xyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces"),
    *("teacher=none", "method=none", "student.width=8", "student.layers=1", "student.radial=4", "student.cutoff=3"),
    *("schedule=cosine", "name=run"),
)
TWO = (*OPTIONS, "trainer.max_epochs=2")


@pytest.fixture(autouse=True)
def _data(tmp_path: Path) -> None:
    saved(tmp_path / "mine.xyz", [*isolated(), *molecules(20)])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder except its log."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".log")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rate(run: Path) -> tuple[int, float]:
    """T_max and the learning rate of the last checkpoint."""
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return last["lr_schedulers"][0]["T_max"], last["optimizer_states"][0]["param_groups"][0]["lr"]


@pytest.mark.parametrize(
    "options", [("hydra.run.dir=here/0",), ("-m", "hydra.sweep.dir=here", "hydra.sweep.subdir=${hydra:job.num}")]
)
def test_a_finished_run_is_replaced_only_where_that_is_asked_for(command, tmp_path, options):
    assert command("train", *options, *TWO).status == 0
    before = contents(tmp_path / "here" / "0")
    refused = command("train", *options, *TWO, "optimizer.lr=1e-6")
    assert refused.status == 1
    (line,) = [line for line in refused.err.splitlines() if line.startswith("ConfigError")]
    assert "holds a finished run" in line
    assert "overwrite=true" in line
    assert contents(tmp_path / "here" / "0") == before
    assert command("train", *options, *TWO, "optimizer.lr=1e-6", "overwrite=true").status == 0
    assert OmegaConf.load(tmp_path / "here" / "0" / "config.yaml").optimizer.lr == 1e-6
    assert contents(tmp_path / "here" / "0").keys() == before.keys()  # nothing of the other is left


def test_a_run_that_was_stopped_is_not_begun_anew_in_its_folder(command, tmp_path):
    assert command("train", *TWO, "hydra.run.dir=here").status == 0
    (tmp_path / "here" / "summary.json").unlink()
    refused = command("train", *TWO, "hydra.run.dir=here")
    assert refused.status == 1
    assert "holds a run that was stopped; resume it with ckpt_path=last" in refused.err


def test_a_finished_run_that_goes_on_keeps_what_it_had_and_follows_its_new_options(command, tmp_path):
    assert command("train", *TWO).status == 0
    (run,) = (tmp_path / "outputs" / "run").iterdir()
    before = contents(run)
    done = command("train", *TWO, "ckpt_path=last")
    assert done.status == 0
    assert "nothing remains to be done" in done.out
    assert contents(run) == before
    assert command("train", *OPTIONS, "trainer.max_epochs=4", "ckpt_path=last").status == 0
    for name in ("summary.json", "config.yaml", "student.safetensors", "metrics/metrics.csv"):
        kept = run / name
        assert kept.with_name(f"{kept.stem}-1{kept.suffix}").read_bytes() == before[name]
    config = OmegaConf.load(run / "config.yaml")
    assert (config.trainer.max_epochs, rate(run)) == (4, (4, 0.0))
    assert len(list((tmp_path / "outputs" / "run").iterdir())) == 1


@pytest.mark.parametrize("option", ["optimizer.lr=1e-6", "student.width=16", "weights.forces=7", "seed=3"])
def test_a_run_does_not_go_on_with_another_objective_data_or_student(command, tmp_path, option):
    assert command("train", *TWO).status == 0
    (run,) = (tmp_path / "outputs" / "run").iterdir()
    before = contents(run)
    for further in (("ckpt_path=last",), (f"ckpt_path={run}/checkpoints/last.ckpt", "hydra.run.dir=new")):
        refused = command("train", *OPTIONS, "trainer.max_epochs=4", option, *further)
        assert refused.status == 1
        assert f"{option.partition('=')[0]}=" in refused.err
        assert refused.err.count("\n") == 1
    assert contents(run) == before
    assert not (tmp_path / "new").exists()


def test_a_run_does_not_go_on_with_other_structures(command, tmp_path):
    assert command("train", *TWO).status == 0
    saved(tmp_path / "mine.xyz", [*isolated(), *molecules(30)])
    refused = command("train", *OPTIONS, "trainer.max_epochs=4", "ckpt_path=last")
    assert refused.status == 1
    assert "are not those with which the run" in refused.err


def test_a_damaged_checkpoint_does_not_lose_the_run(command, tmp_path):
    assert command("train", *TWO).status == 0
    (run,) = (tmp_path / "outputs" / "run").iterdir()
    for name in ("last", "best"):
        (run / "checkpoints" / f"{name}.ckpt").write_bytes(b"")
    again = command("train", *OPTIONS, "trainer.max_epochs=3", "ckpt_path=last")
    assert again.status == 0, again.err
    assert "last-previous.ckpt, is taken instead" in again.out
    assert json.loads((run / "summary.json").read_text())["steps"] == 3 * 4


def test_a_command_that_fails_leaves_no_folder(command, tmp_path):
    assert command("train", *TWO, "student.width=no").status == 1
    assert command("train", *TWO, "data.path=no.xyz").status == 1
    assert command("train", *TWO, "ckpt_path=no.ckpt").status == 1
    assert not (tmp_path / "outputs" / "run").exists()


def test_a_test_that_is_not_finite_is_refused(command, tmp_path):
    assert command("train", *TWO, "hydra.run.dir=here").status == 0
    best = tmp_path / "here" / "checkpoints" / "best.ckpt"
    checkpoint: Any = torch.load(best, weights_only=True)
    checkpoint["state_dict"]["student.embedding.weight"][5] = float("nan")  # carbon
    torch.save(checkpoint, best)
    refused = command("evaluate", "run=here")
    assert refused.status == 1
    assert "the test failed: energy_mae_meV_per_atom=nan, energy_mae_meV=nan, force_mae_meV_per_A=nan" in refused.err


def test_a_missing_gpu_is_one_line(command, tmp_path):
    refused = command("train", *TWO, "trainer.accelerator=gpu")
    assert refused.status == 1
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "outputs" / "run").exists()


def test_letters_that_a_terminal_lacks_are_replaced(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    print_anything()
    print("0.1 Å", flush=True)
    assert written.getvalue() == b"0.1 ?\n"
