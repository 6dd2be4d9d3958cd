"""Fine-tuning: a trained student goes on from its weights on other data, with settings that do not wreck it."""

import logging
from pathlib import Path
from typing import Any

from ase.data import chemical_symbols
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from jointkd.cli.arguments import option_name
from jointkd.errors import ConfigError
from jointkd.students.student_file import SavedStudent, read_student

log = logging.getLogger(__name__)

RATE = 0.1  # of the recipe's learning rate; see docs/findings.md, "Fine-tuning"
TARGET = "_target_"


def with_finetuned(config: DictConfig) -> DictConfig:
    """A configuration with what `finetune` takes from a student: its architecture, reference energies and weights.

    The learning rate is a small part of the recipe's. Options that are given on the command line stay as they are.
    Raises ConfigError where they contradict the student, and DataError for a file that is not a student's.
    """
    if config.finetune is None:
        return config
    if config.student_weights is not None:
        raise ConfigError("finetune and student_weights name two students", "give one of them")
    saved = read_student(Path(config.finetune).expanduser())
    given = set(map(option_name, HydraConfig.get().overrides.task))
    check_student(config, saved, given)
    config = config.copy()
    values: dict[str, Any] = {"student_weights": str(config.finetune)}
    values |= {f"student.{name}": value for name, value in saved.config.items() if name != TARGET}
    if "data.reference_energies" not in given and saved.reference_energies:
        values["data.reference_energies"] = {chemical_symbols[z]: e for z, e in saved.reference_energies.items()}
    if "optimizer.lr" not in given:
        values["optimizer.lr"] = RATE * config.optimizer.lr
    with open_dict(config):
        for name, value in values.items():
            OmegaConf.update(config, name, value, merge=False)
    log.info("fine-tuning %s, with its architecture; optimizer.lr=%.3g", config.finetune, config.optimizer.lr)
    return config


def check_student(config: DictConfig, saved: SavedStudent, given: set[str]) -> None:
    """Raises ConfigError where the class or an argument that was chosen is not that of the student."""
    theirs, ours = saved.config.get(TARGET), config.student[TARGET]
    if theirs != ours:
        name = saved.origin.get("student", "…")
        raise ConfigError(f"finetune={config.finetune} is of {theirs}, but student is {ours}", f"add student={name}")
    for name, value in saved.config.items():
        chosen = config.student.get(name)
        if f"student.{name}" in given and chosen != value:
            raise ConfigError(
                f"finetune={config.finetune} has {name}={value}, but student.{name}={chosen} is given",
                f"leave out student.{name}",
            )
