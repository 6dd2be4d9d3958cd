"""What a dashboard of a run shows beside the loss: weights, learning rate, size of the gradient, speed and memory."""

import sys
import time
from collections.abc import Iterable
from typing import Any

import lightning
import torch
from torch import Tensor

from jointkd.structures.batch import Structure


class RunMetrics(lightning.Callback):
    """Logs, in the steps that are logged anyway (`trainer.log_every_n_steps`), what follows.

    train/weight_TERM: the weight of a term as it counts now; train/learning_rate; train/gradient_norm, before clipping;
    perf/structures_per_s, of training alone, over all processes; perf/memory_MB: the most that this process has held,
    on a GPU that of its tensors there. Nothing waits for a GPU in other steps.
    """

    def __init__(self) -> None:
        self._structures = 0  # of this process, since the last step that was logged
        self._since = 0.0
        self._paused = 0.0

    def on_train_start(self, *_: Any) -> None:
        self._structures, self._since = 0, time.monotonic()

    def on_validation_start(self, *_: Any) -> None:
        self._paused = time.monotonic()

    def on_validation_end(self, *_: Any) -> None:
        self._since += time.monotonic() - self._paused

    def on_before_optimizer_step(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if (trainer.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            pl_module.log("train/gradient_norm", gradient_norm(pl_module.student.parameters()), batch_size=1)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Structure, *_: Any
    ) -> None:
        self._structures += batch.real_structures
        stepped = batch.whole is None or batch.whole.last
        if not stepped or trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        weights = {f"train/weight_{name}": term.current_weight for name, term in pl_module.terms.items()}
        speed = self._structures * trainer.world_size / max(time.monotonic() - self._since, 1e-9)
        values = {
            **weights,
            "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "perf/structures_per_s": speed,
            "perf/memory_MB": most_memory(pl_module.device),
        }
        pl_module.log_dict({name: float(value) for name, value in values.items()}, batch_size=1)
        self._structures, self._since = 0, time.monotonic()


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm of all gradients, a scalar on their device."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def most_memory(device: torch.device) -> float:
    """MB: the most that tensors have held on a GPU, or that this process has held of the main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource  # not on Windows
    except ModuleNotFoundError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
