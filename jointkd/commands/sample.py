"""Make new structures from a training split, for a teacher to label; once, or in rounds with training between."""

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from jointkd.cli.arguments import option_name
from jointkd.commands.build import plain
from jointkd.commands.new_structures import make_structures
from jointkd.commands.recorded_training import recorded_groups
from jointkd.commands.rounds import Rounds
from jointkd.files.run_files import CONFIGURATION
from jointkd.sampling.options import SamplingOptions

log = logging.getLogger(__name__)

GROUPS = ("data", "teacher")


def run(config: DictConfig) -> None:
    """Sample with a teacher or a student, or in rounds, in each of which the last student samples."""
    given = {field.name: plain(config.get(field.name)) for field in fields(SamplingOptions)}
    temperatures = given["temperatures"] if isinstance(given["temperatures"], list) else [given["temperatures"]]
    given |= {"mover": str(config["with"]), "temperatures": temperatures}
    if config.rounds is None:
        make_structures(with_those_of_run(config, HydraConfig.get().overrides.task), SamplingOptions(**given))
    else:
        Rounds.of(config.rounds, given).run()


def with_those_of_run(config: DictConfig, given: Sequence[str]) -> DictConfig:
    """The configuration, with data and teacher of the run whose student samples where others have not been chosen.

    given: the options of the command line. Raises DataError for code in the run that is not trusted.
    """
    folder, keys = Path(str(config["with"])).expanduser(), list(map(option_name, given))
    names = [name for name in GROUPS if name not in keys]
    if not names or not (folder / CONFIGURATION).is_file():
        return config
    changed: Any = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    for name, group in recorded_groups(folder, names, config.trust).items():
        changed[name] = group
        for key in keys:
            if key.startswith(f"{name}."):
                OmegaConf.update(changed, key, OmegaConf.select(config, key), force_add=True)
    log.info("%s of the run with=%s: others are chosen with data=… and teacher=…", " and ".join(names), folder)
    return changed
