"""The logger of TensorBoard: the same values as in the CSV file, and one line where its package is missing."""

import csv

import pytest
from lightning.pytorch.loggers import CSVLogger

from jointkd.errors import MissingExtra
from jointkd.training import tensorboard_logger as module
from jointkd.training.callbacks.run_metrics import RunMetrics
from tests.toy import toy_data, toy_module, toy_trainer


def test_a_missing_tensorboard_is_one_line_with_the_remedy(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise ModuleNotFoundError("Neither `tensorboard` nor `tensorboardX` is available.")

    monkeypatch.setattr(module, "TensorBoardLogger", refuse)
    with pytest.raises(MissingExtra, match=r"needs tensorboard; pip install 'jointkd\[tensorboard\]'"):
        module.tensorboard_logger(str(tmp_path))


def test_tensorboard_has_the_values_of_the_csv_file(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer = toy_trainer(
        tmp_path,
        2,
        RunMetrics(),
        logger=[CSVLogger(tmp_path, name=None, version="metrics"), module.tensorboard_logger(str(tmp_path))],
        log_every_n_steps=1,
    )
    trainer.fit(toy_module(), datamodule=toy_data(tmp_path, batch_size=6))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    with (tmp_path / "metrics" / "metrics.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    names = set(rows[0]) - {"epoch", "step"}
    assert {"train/loss", "train/weight_hessian", "val/force_mae_meV_per_A", "perf/memory_MB"} <= names
    for name in names:
        logged = [float(row[name]) for row in rows if row[name]]
        assert [event.value for event in events.Scalars(name)] == pytest.approx(logged, rel=1e-6)
