"""Molecular dynamics with a student."""

from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from jointkd.runtime import keep_freed_memory
from jointkd.simulation.dynamics import simulate


def run(config: DictConfig) -> None:
    """Run dynamics from one structure; trajectory, log, events, summary and plot go to `directory`."""
    keep_freed_memory()
    simulate(instantiate(config, _convert_="all"))
    with suppress(OSError):  # it is in use, unless `directory` names another one
        Path(HydraConfig.get().runtime.output_dir).rmdir()
