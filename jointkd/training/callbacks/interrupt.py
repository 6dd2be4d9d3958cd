"""A callback that ends training after the current step on a signal, with a checkpoint to resume from."""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, the batch system, and the end of a remote session


class StopOnSignal(lightning.Callback):
    """Saves `last.ckpt` in `directory` and exits with status 130 (SIGINT), 143 (SIGTERM) or 129 (SIGHUP).

    A signal that the process was told to ignore, as SIGHUP by `nohup`, is ignored.
    """

    def __init__(self, directory: str) -> None:
        self.path = Path(directory) / "last.ckpt"
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, *_: Any) -> None:
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._receive)

    def _receive(self, number: int, _: Any) -> None:
        self.received = number

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if stepped and not trainer.is_last_batch:  # the validation at the end of an epoch may change the learning rate
            self._stop(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        self._stop(trainer)

    def _stop(self, trainer: lightning.Trainer) -> None:
        # the ranks may receive the signal in different steps, but must save in the same one
        if trainer.strategy.reduce_boolean_decision(self.received is not None, all=False):
            trainer.save_checkpoint(self.path)
            if trainer.is_global_zero:
                with suppress(OSError):  # the terminal may be gone
                    print(
                        f"\nstopped after step {trainer.global_step}; resume with the same command, for train with "
                        "ckpt_path=last"
                    )
            raise SystemExit(128 + (self.received or signal.SIGTERM))

    def on_train_end(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
