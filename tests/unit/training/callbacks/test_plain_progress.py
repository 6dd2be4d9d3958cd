"""What is said of the progress of training."""

from types import SimpleNamespace
from typing import Any

import lightning
import pytest
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from jointkd.training.callbacks import plain_progress
from jointkd.training.callbacks.plain_progress import Pace, RunProgressBar


def trainer(**options: Any) -> Any:
    """A trainer of 10 epochs of 6 steps (of two batches), of which it has done 4."""
    values = {"max_epochs": 10, "max_steps": -1, "num_training_batches": 12, "accumulate_grad_batches": 2}
    return SimpleNamespace(**{**values, "global_step": 4, **options})


def left(monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """The time left a minute and two steps later."""
    monkeypatch.setattr(plain_progress.time, "monotonic", lambda: 0.0)
    pace = Pace(trainer(**options))
    monkeypatch.setattr(plain_progress.time, "monotonic", lambda: 60.0)
    pace.trainer.global_step += 2
    return pace.time_left()


def test_the_time_left_is_that_of_the_whole_run(monkeypatch):
    assert left(monkeypatch) == "27 min"  # 54 steps at 2 steps/min


def test_the_time_left_is_shorter_where_the_steps_are_limited(monkeypatch):
    assert left(monkeypatch, max_steps=16) == "5 min"
    assert left(monkeypatch, max_steps=16, max_epochs=-1) == "5 min"


def test_nothing_is_said_where_there_is_no_end_or_no_step_yet(monkeypatch):
    assert left(monkeypatch, max_epochs=-1) == ""
    assert Pace(trainer()).time_left() == ""


def test_the_bar_shows_the_time_left_and_not_the_folder_of_the_metrics(monkeypatch, tmp_path):
    logger = CSVLogger(tmp_path, name="", version="metrics")
    real = lightning.Trainer(logger=logger, enable_checkpointing=False, callbacks=[RunProgressBar()])
    assert "v_num" in TQDMProgressBar().get_metrics(real, None)  # type: ignore[arg-type]
    bar = RunProgressBar()
    bar.pace = SimpleNamespace(time_left=lambda: "27 min")  # type: ignore[assignment]
    assert bar.get_metrics(real, None) == {"whole run": "27 min left"}
