"""Molecular dynamics with a student."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from jointkd.simulation.dynamics import simulate


def run(config: DictConfig) -> None:
    """Run dynamics from one structure; trajectory, log, summary and picture go to `directory`."""
    simulate(instantiate(config, _convert_="all"))
