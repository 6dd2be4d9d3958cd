"""A callback that prints progress as plain lines where there is no terminal for a progress bar."""

import math
import sys
import time
from typing import Any

import lightning

from jointkd.runtime import somebody_watches
from jointkd.training.module import MONITOR


class PlainProgress(lightning.Callback):
    """Prints a line after every `every`-th validation: epoch, step, rate, time left, force error."""

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self._started = 0.0
        self._first = 0
        self._count = 0

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._started, self._first = time.monotonic(), trainer.global_step

    def on_validation_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        steps = trainer.global_step - self._first
        if somebody_watches() or trainer.sanity_checking or not steps or not trainer.is_global_zero:
            return
        self._count += 1
        rate = steps / (time.monotonic() - self._started)
        total = (trainer.max_epochs or 0) * math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        left = f", {(total - trainer.global_step) / rate / 60:.0f} min left" if total > 0 else ""
        if self._count % self.every == 0:
            error = float(trainer.callback_metrics[MONITOR])
            print(
                f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}, {rate:.1f} steps/s{left}, "
                f"validation force MAE {error:.1f} meV/Å",
                file=sys.stderr,
                flush=True,
            )
