"""Export a student to a file that runs without its Python code."""

from omegaconf import DictConfig

from jointkd.commands.build import plain
from jointkd.deploy.export import export


def run(config: DictConfig) -> None:
    """Write the package of the student."""
    export(**plain(config))
