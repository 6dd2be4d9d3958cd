"""Training that is stopped resumes exactly where it was."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from jointkd.training.callbacks.interrupt import StopOnSignal
from tests.files import isolated, molecules, saved
from tests.toy import toy_data, toy_module
from tests.wandb_files import records_of

EPOCHS = 3


@pytest.fixture(autouse=True)
def _signals_as_in_a_terminal():
    """A shell lets commands in the background ignore Ctrl-C, and `nohup` the end of a session."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGTERM)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Interrupt(lightning.Callback):
    """Sends this process a signal in the middle of one step."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_before_backward(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def fit(
    folder: Path,
    workers: int = 0,
    extra: lightning.Callback | None = None,
    ckpt: Path | None = None,
    parts: int = 1,
) -> Any:
    """Train a small student for three epochs of five steps; returns the final raw and averaged weights."""
    average = EMAWeightAveraging(decay=0.9)
    callbacks = [
        *([extra] if extra else []),
        average,
        StopOnSignal(str(folder / "checkpoints")),
        ModelCheckpoint(
            folder / "checkpoints",
            monitor="val/force_mae_meV_per_A",
            filename="best",
            enable_version_counter=False,
        ),
        ModelCheckpoint(folder / "checkpoints", filename="last", enable_version_counter=False),
    ]
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        accumulate_grad_batches=parts,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=10.0,
        use_distributed_sampler=False,
        inference_mode=False,
        default_root_dir=folder,
    )
    module = toy_module()
    trainer.fit(module, datamodule=toy_data(folder, workers=workers), ckpt_path=ckpt, weights_only=False)
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["optimizer_states"][0]["param_groups"][0]["lr"] < 1e-3  # the plateau scheduler has lowered it
    assert last["global_step"] == trainer.global_step == EPOCHS * 5
    return {**last["current_model_state"], **{f"average.{k}": v for k, v in last["state_dict"].items()}}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fit(tmp_path_factory.mktemp("uninterrupted"))


STOPS = [(0, signal.SIGINT), (3, signal.SIGTERM), (4, signal.SIGINT), (7, signal.SIGHUP), (13, signal.SIGTERM)]


@pytest.mark.parametrize(("step", "number"), STOPS)
def test_a_run_that_is_stopped_after_any_step_ends_with_bit_identical_weights(tmp_path, uninterrupted, step, number):
    with pytest.raises(SystemExit) as exit:
        fit(tmp_path, extra=Interrupt(step, number))
    assert exit.value.code == 128 + number
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == step + 1
    resumed = fit(tmp_path, ckpt=last)
    assert resumed.keys() == uninterrupted.keys()
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)


def test_a_run_with_micro_batches_stops_between_steps_and_resumes(tmp_path):
    expected = fit(tmp_path / "uninterrupted", parts=2)
    with pytest.raises(SystemExit):
        fit(tmp_path, parts=2, extra=Interrupt(6, signal.SIGINT))
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 7
    resumed = fit(tmp_path, parts=2, ckpt=last)
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def test_worker_processes_change_nothing(tmp_path, uninterrupted):
    with pytest.raises(SystemExit):
        fit(tmp_path, workers=1, extra=Interrupt(6, signal.SIGINT))
    resumed = fit(tmp_path, workers=1, ckpt=tmp_path / "checkpoints" / "last.ckpt")
    assert all(torch.equal(resumed[name], uninterrupted[name]) for name in uninterrupted)


def test_a_run_that_was_told_to_outlive_its_terminal_does(tmp_path, uninterrupted):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        weights = fit(tmp_path, extra=Interrupt(6, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert all(torch.equal(weights[name], uninterrupted[name]) for name in uninterrupted)


def test_signal_handlers_are_restored_after_training(tmp_path, uninterrupted):
    before = signal.getsignal(signal.SIGINT)
    fit(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_newest_state_is_saved_also_if_validation_does_not_improve(command, tmp_path):
    options = small(tmp_path)
    first_is_best = "+callbacks.checkpoint.mode=max"  # the error falls
    done = command("train", *options, first_is_best, "trainer.max_epochs=3")
    assert done.status == 0, done.err
    (last,) = (tmp_path / "outputs" / "run").rglob("last.ckpt")
    epochs = [torch.load(last.with_name(f"{name}.ckpt"), weights_only=True)["epoch"] for name in ("best", "last")]
    assert epochs == [0, 2]


def test_a_resumed_run_goes_on_as_the_same_run_of_weights_and_biases(command, tmp_path, monkeypatch):
    for variable, value in (("WANDB_MODE", "offline"), ("WANDB_SILENT", "true")):
        monkeypatch.setenv(variable, value)
    options = [*small(tmp_path), "logger=wandb", "trainer.log_every_n_steps=1", "data.batch_size=8"]
    assert command("train", *options, "trainer.max_epochs=1").status == 0
    resumed = command("train", *options, "trainer.max_epochs=2", "ckpt_path=last")
    assert resumed.status == 0, resumed.err
    files = sorted(tmp_path.glob("outputs/run/*/wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime)
    before, after = [records_of(file) for file in files]
    assert before.id == after.id
    steps = [[row["trainer/global_step"] for row in run.history if "train/loss" in row] for run in (before, after)]
    assert steps == [[0, 1], [2, 3]]


def small(folder: Path) -> list[str]:
    """The options of a training of seconds."""
    saved(folder / "mine.xyz", [*isolated(), *molecules(20)])
    data = ["data=extxyz", "data.path=mine.xyz", "data.energy_key=REF_energy", "data.forces_key=REF_forces"]
    return [*data, "teacher=none", "method=none", "student.width=8", "student.layers=1", "name=run"]
