"""The jobs of a sweep: experiments that need one, and a list of them without running any."""

from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from jointkd.cli.config_tree import CONF
from jointkd.errors import ConfigError

OF_LABELS = ("experiment=", "preset=", "recipe=", "teacher", "data", "label.", "student=")  # what labels depend on
LIST = "list=true"  # among the options of a sweep: its jobs are only printed


def jobs_of(command: str, arguments: list[str]) -> list[list[str]]:
    """The options of every job that a sweep with these arguments runs, those of an experiment included."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = [word for word in arguments if word.startswith("experiment=")]
        config = hydra.compose(command, chosen, return_hydra_config=True)
    params: Any = OmegaConf.select(config, "hydra.sweeper.params") or {}
    swept = [f"{name}={value}" for name, value in params.items()]
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(swept + arguments), None)
    return [list(job) for job in jobs]


def list_jobs(command: str, arguments: list[str]) -> str:
    """The jobs of a sweep, one per line, and the commands that estimate the hours of the labels that they need."""
    jobs = jobs_of(command, arguments)
    lines = [*(f"{number:>4}  {' '.join(job)}" for number, job in enumerate(jobs)), f"{len(jobs)} jobs"]
    labels = label_commands(command, jobs) if command == "train" else []
    if labels:
        lines += ["", "labels that they share; each of these estimates their size and hours:", *labels]
    return "\n".join(lines)


def label_commands(command: str, jobs: list[list[str]]) -> list[str]:
    """`label` with the options of each of the jobs that labels depend on, as a dry run, without repetition."""
    shared = {tuple(word for word in job if word.lstrip("+").startswith(OF_LABELS)): None for job in jobs}
    found: dict[str, None] = {}
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        for words in shared:
            chosen: Any = hydra.compose(command, list(words), return_hydra_config=True).hydra.runtime.choices
            if chosen["teacher"] != "none":
                groups = [f"{group}={chosen[group]}" for group in ("teacher", "data", "student")]
                options = [word for word in words if "." in word.partition("=")[0]]
                found[" ".join(["  python -m jointkd.label", *groups, *options, "label.dry_run=true"])] = None
    return list(found)


def check_sweep(command: str, arguments: list[str]) -> None:
    """Raise ConfigError for an experiment that is a sweep, in a single run, which would be another training."""
    chosen = [word for word in arguments if word.startswith("experiment=")]
    count = len(jobs_of(command, arguments)) if chosen else 1
    if count > 1:
        raise ConfigError(
            f"{chosen[-1]} is a sweep of {count} jobs, and this is a single run",
            f"run it with -m {' '.join(arguments)}; with {LIST} the jobs are only listed",
        )
