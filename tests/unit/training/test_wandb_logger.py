"""Weights & Biases without a network: the run on disk has the quantities of the CSV file, by the same names."""

import csv
import re
import time
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger

from jointkd.training import wandb_logger
from jointkd.training.callbacks.run_metrics import RunMetrics
from tests.toy import toy_data, toy_module, toy_trainer


@pytest.mark.slow
def test_an_offline_run_has_the_names_of_the_csv_file(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb_logger, "reachable", lambda: False)
    logger = wandb_logger.wandb_logger(project="test", save_dir=str(tmp_path))
    trainer = toy_trainer(
        tmp_path,
        1,
        RunMetrics(),
        logger=[CSVLogger(tmp_path, name=None, version="metrics"), logger],
        log_every_n_steps=1,
    )
    trainer.fit(toy_module(), datamodule=toy_data(tmp_path, batch_size=6))
    logger.experiment.finish()
    with (tmp_path / "metrics" / "metrics.csv").open() as opened:
        expected = set(next(csv.reader(opened))) - {"epoch", "step"}
    assert {"train/weight_hessian", "perf/structures_per_s"} <= expected
    (stored,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 60
    while not expected <= (names := names_in(stored)):  # a process of its own writes the file
        assert time.monotonic() < deadline, expected - names
        time.sleep(0.1)


def names_in(file: Path) -> set[str]:
    """The names of quantities in the file of a run, in which they are plain text."""
    return {name.decode() for name in re.findall(rb"(?:train|val|perf)/[A-Za-z0-9_]+", file.read_bytes())}
