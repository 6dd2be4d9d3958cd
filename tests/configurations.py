"""Configurations as a job of training gets them."""

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from jointkd.cli import resolvers
from jointkd.cli.config_tree import CONF

resolvers.register()


def composed(*overrides: str, command: str = "train") -> DictConfig:
    """The configuration of a command as a job gets it."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose(command, [*overrides, "hydra.runtime.output_dir=out"], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    del config.hydra
    return config
