"""The configuration of a command for a script or a notebook."""

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from jointkd.cli import resolvers
from jointkd.cli.arguments import as_hydra_reads
from jointkd.cli.config_tree import CONF
from jointkd.cli.options import check_exists, check_owner, check_set, check_values, compose
from jointkd.cli.paths import FILES, check_files, expand_home
from jointkd.files.folders import removed_if_unused

resolvers.register()


@contextmanager
def composed(
    command: str, groups: Sequence[str], nodes: Mapping[str, Any], options: Mapping[str, Any]
) -> Iterator[DictConfig]:
    """A context in which the configuration of a command is active, as if Hydra had started it; makes the run's folder.

    groups: choices such as `student=painn`; nodes: dictionaries that replace whole nodes, by name; options: values by
    dotted name. Raises ConfigError for unknown choices and options and for values of the wrong type.
    """
    groups = as_hydra_reads(list(groups))
    checked, chosen = compose(command, groups)
    if "method" in checked:
        check_owner(chosen, {path: value for path, value in options.items() if path.partition(".")[0] not in nodes})
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        everything = hydra.compose(command, groups, return_hydra_config=True)
    for name, node in nodes.items():
        with open_dict(everything):
            everything[name] = node
    check_against = OmegaConf.masked_copy(everything, [str(name) for name in everything if name != "hydra"])
    for path, value in options.items():
        check_exists(command, check_against, path)
        value = expand_home(value) if path in FILES else value
        OmegaConf.update(everything, path, value, force_add=True)
    with _active(everything) as config:
        yield config


@contextmanager
def repeated(recorded: Mapping[str, Any], folder: Path) -> Iterator[DictConfig]:
    """A context in which the recorded configuration of a run is active again, for training in another folder.

    recorded: without interpolations, but that files of the run lie below `${hydra:runtime.output_dir}`. For errors see
    `composed`; a command or another configuration must be active around it.
    """
    hydra_config: Any = deepcopy(HydraConfig.get())
    with read_write(hydra_config), open_dict(hydra_config):
        hydra_config.run.dir = str(folder)
        hydra_config.overrides.task = []
        hydra_config.runtime.choices.recipe = "none"  # the record has its values instead
    with _active(OmegaConf.create({**recorded, "hydra": hydra_config})) as config:
        yield config


@contextmanager
def _active(everything: DictConfig) -> Iterator[DictConfig]:
    """A context in which a configuration, with Hydra's own, is active in the folder `hydra.run.dir`, which is made."""
    before = HydraConfig.instance().cfg
    try:
        HydraConfig.instance().set_config(everything)  # the name of the folder may refer to it
        with read_write(everything.hydra), open_dict(everything.hydra):
            everything.hydra.runtime.output_dir = str(Path(everything.hydra.run.dir).absolute())
        HydraConfig.instance().set_config(everything)
        folder = Path(everything.hydra.runtime.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        config = everything.copy()
        with open_dict(config):
            del config["hydra"]
        with removed_if_unused(folder):
            check_files(config)
            check_set(config)
            check_values(config)
            yield config
    finally:
        HydraConfig.instance().cfg = before


def show_log() -> None:
    """Print the log of jointkd, as the commands do, unless the caller has set up logging."""
    log = logging.getLogger("jointkd")
    if not (log.handlers or logging.getLogger().handlers):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
