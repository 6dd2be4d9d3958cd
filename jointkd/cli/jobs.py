"""The jobs of a sweep: experiments that need one, and a list of them without running any."""

import shlex
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from jointkd.cli.arguments import parse, quote
from jointkd.cli.config_tree import CONF, is_group
from jointkd.cli.paths import LISTS
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
    """Raise ConfigError where a single run is asked for, and an option or an experiment has several values.

    Of an experiment that is a sweep a single run would be another training.
    """
    for argument in arguments:
        override = parse(argument)
        if override.is_sweep_override():
            option = override.key_or_group
            several = f"write it as {listed(argument)}" if option in LISTS else "add -m for a run of each"
            one = "give one" if is_group(option) else f"quote one value, as {quoted_whole(argument)}"
            raise ConfigError(f"{argument} has several values, and this is a single run", f"{several}, or {one}")
    chosen = [word for word in arguments if word.startswith("experiment=")]
    count = len(jobs_of(command, arguments)) if chosen else 1
    if count > 1:
        raise ConfigError(
            f"{chosen[-1]} is a sweep of {count} jobs, and this is a single run",
            f"run it with -m {' '.join(arguments)}; with {LIST} the jobs are only listed",
        )


def quoted_whole(argument: str) -> str:
    """An option with its value as one text, as a shell passes it on."""
    name, _, value = argument.partition("=")
    return shlex.quote(f"{name}={quote(value)}")


def listed(argument: str) -> str:
    """An option whose values, separated by commas, are a list."""
    name, _, value = argument.partition("=")
    return f"{name}=[{value}]"
