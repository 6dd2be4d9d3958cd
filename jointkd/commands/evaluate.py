"""Test a finished run again, from its own configuration and checkpoint."""

import logging
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from jointkd.commands.build import build, join_labels, load_averaged
from jointkd.data.splits import FILE as SPLIT
from jointkd.errors import ConfigError, DataError
from jointkd.evaluation.metrics import check_finite, metrics_table, without_stage
from jointkd.moved import current_name
from jointkd.runtime import somebody_watches
from jointkd.teachers.spec import TARGET

log = logging.getLogger(__name__)


def run(config: DictConfig) -> dict[str, float]:
    """Log and return the metrics of a run's test split. Raises DataError, ConfigError."""
    directory = Path(config.run)
    original = configuration_of(directory)
    path = directory / "checkpoints" / f"{config.checkpoint}.ckpt"
    if not path.exists():
        raise ConfigError(f"checkpoint={config.checkpoint} is not in {directory}", "choose best or last")
    module, data = build(original, directory)
    join_labels(original, module, data)
    load_averaged(module, path)
    trainer = instantiate(
        original.trainer,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=somebody_watches(),
        devices=1,
        num_nodes=1,
        strategy="auto",
    )
    (metrics,) = trainer.test(module, datamodule=data, verbose=False)
    check_finite(without_stage(metrics))
    log.info("%s", metrics_table(without_stage(metrics)))
    return dict(metrics)


def with_current_names(node: Any) -> Any:
    """Part of a configuration in which what is built is named as today; runs of version 0.1 recorded other names."""
    if isinstance(node, dict):
        return {
            name: current_name(value) if name == TARGET else with_current_names(value) for name, value in node.items()
        }
    return [with_current_names(entry) for entry in node] if isinstance(node, list) else node


def configuration_of(directory: Path) -> DictConfig:
    """The configuration that a run was made with, with the split that it made. Raises DataError."""
    file = directory / "config.yaml"
    if not file.exists():
        raise DataError(f"run={directory} holds no finished run", "give the folder of a run, as training printed it")
    original = OmegaConf.create(with_current_names(OmegaConf.to_container(OmegaConf.load(file))))
    assert isinstance(original, DictConfig)
    divided = isinstance(original.data.split, DictConfig)  # else the source says which structure is in which split
    if divided and (directory / SPLIT).exists():  # else it might be tested on what it was trained on
        OmegaConf.update(original, "data.split.path", str(directory / SPLIT))
    return original
