"""Whether the training step of a run is compiled."""

import logging
import math
from functools import partial
from typing import Any

import lightning
from omegaconf import DictConfig

from jointkd.data.datamodule import DistillationData
from jointkd.errors import ConfigError
from jointkd.students.operations import plain_graph
from jointkd.training.compiled_step import CompiledStep
from jointkd.training.loss import Term
from jointkd.training.module import DistillationModule

log = logging.getLogger(__name__)

FEW = 2000  # steps; on a GPU fewer take less time than compiling does, for each student (docs/performance.md)


def check_compile(config: DictConfig) -> None:
    """Raise ConfigError for a value that is not known."""
    if config.compile not in (True, False, "auto"):
        raise ConfigError(f"compile={config.compile} is not known", "choose auto, true or false")


def compile_step(
    config: DictConfig, module: DistillationModule, data: DistillationData, trainer: lightning.Trainer
) -> None:
    """Let training steps be compiled, where that is asked for and possible; see `CompiledStep`."""
    if not config.compile or (config.compile == "auto" and not worthwhile(trainer, data)):
        return
    own = [name for name, term in module.terms.items() if type(term).__call__ is not Term.__call__]
    if own:
        log.info("training steps are not compiled, as %s has a __call__ of its own", own[0])
        return
    graph_of = getattr(module.student, "graph_of", None)
    data.pad_batches(None if graph_of is None else partial(plain_graph, graph_of))
    module.step = CompiledStep(module.student, module.terms, module.loss)


def worthwhile(trainer: lightning.Trainer, data: DistillationData) -> bool:
    """Whether compiling takes less time than it saves: on a GPU, where the training is long."""
    if trainer.strategy.root_device.type != "cuda":
        return False
    steps = steps_of(trainer, len(data.frames["train"]), data.batch_size)
    if steps < FEW:
        log.info("training steps are not compiled, as %d are too few to gain by it (compile=true compiles them)", steps)
    return steps >= FEW


def steps_of(trainer: Any, structures: int, batch_size: int) -> float:
    """How many steps a training makes at most, micro-batches counted; infinite where nothing but time limits it."""
    parts = trainer.accumulate_grad_batches
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
    limit = math.inf if trainer.max_steps == -1 else trainer.max_steps
    return parts * min(limit, epochs * math.ceil(structures / batch_size))
