"""The progress of training: a bar on a terminal or in a notebook, elsewhere plain lines."""

import math
import sys
import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import TQDMProgressBar

from jointkd.runtime import somebody_watches
from jointkd.training.module import MONITOR


class Pace:
    """How fast training is, and how much of it is left."""

    def __init__(self, trainer: lightning.Trainer) -> None:
        self.trainer = trainer
        self.began, self.first = time.monotonic(), trainer.global_step

    @property
    def steps_per_second(self) -> float:
        """The mean rate since training began or was resumed; 0 before the first step."""
        return (self.trainer.global_step - self.first) / max(time.monotonic() - self.began, 1e-9)

    def time_left(self) -> str:
        """The time until the last step of the whole run, such as `85 min`; empty where it is not known."""
        trainer = self.trainer
        batches = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        total = (trainer.max_epochs or 0) * batches
        if trainer.max_steps > 0:
            total = min(total, trainer.max_steps) if total > 0 else trainer.max_steps
        rate = self.steps_per_second
        return f"{(total - trainer.global_step) / rate / 60:.0f} min" if total > 0 and rate > 0 else ""


class RunProgressBar(TQDMProgressBar):
    """Lightning's bar of an epoch, with the time left of the whole run."""

    pace: Pace | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self.pace = Pace(trainer)

    def get_metrics(self, trainer: lightning.Trainer, pl_module: Any) -> Any:
        """What stands behind the bar."""
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)  # "rics", the end of the name of the folder of the metrics
        left = self.pace.time_left() if self.pace is not None else ""
        return {**({"whole run": f"{left} left"} if left else {}), **shown}


class PlainProgress(lightning.Callback):
    """Prints a line after every `every`-th validation: epoch, step, rate, time left, force error."""

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self._pace: Pace | None = None
        self._count = 0

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._pace = Pace(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if somebody_watches() or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if self._pace is None or not (rate := self._pace.steps_per_second):
            return
        self._count += 1
        time_left = self._pace.time_left()
        left = f", {time_left} left" if time_left else ""
        if self._count % self.every == 0:
            error = float(trainer.callback_metrics[MONITOR])
            print(
                f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}, {rate:.1f} steps/s{left}, "
                f"validation force MAE {error:.1f} meV/Å",
                file=sys.stderr,
                flush=True,
            )
