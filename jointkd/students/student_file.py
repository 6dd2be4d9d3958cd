"""Students as files: which student it is and its weights, in one safetensors file. Reading it runs no code of its."""

import importlib
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from jointkd.errors import ConfigError, DataError
from jointkd.files.atomic import write_whole
from jointkd.runtime import default_dtype
from jointkd.students.base import Student

log = logging.getLogger(__name__)

NAME = "student.safetensors"  # in the folder of a finished run


def target_of(kind: type) -> str:
    """What `_target_` calls a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


class SavedStudent(NamedTuple):
    """All that a student's file holds."""

    config: dict[str, Any]  # _target_ and the arguments of the constructor
    weights: dict[str, Tensor]  # parameters and buffers
    reference_energies: dict[int, float]  # eV by atomic number, which predictions are relative to
    origin: dict[str, Any]  # where the weights are from


def save_student(path: Path, saved: SavedStudent) -> None:
    """Write a student's file: whole, or not at all."""
    metadata = {
        "student": json.dumps(saved.config),
        "reference_energies": json.dumps(saved.reference_energies),
        "origin": json.dumps(saved.origin),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save({name: weight.contiguous() for name, weight in saved.weights.items()}, metadata))


def locate_student(path: Path) -> Path:
    """A student's file: the path itself, or in the folder of a run there."""
    return path / NAME if path.is_dir() else path


def read_student(path: Path) -> SavedStudent:
    """What `save_student` wrote, at `path` or in the folder of a run there. Raises DataError where there is nothing."""
    path = locate_student(path)
    remedy = "give the folder of a finished run, or a file of python -m jointkd.import_checkpoint"
    if not path.is_file():
        raise DataError(f"there is no file {path}", remedy)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
        energies = json.loads(metadata["reference_energies"])
        return SavedStudent(
            json.loads(metadata["student"]),
            weights,
            {int(number): energy for number, energy in energies.items()},
            json.loads(metadata["origin"]),
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path} is not the file of a student ({type(error).__name__}: {error})", remedy) from error


def load_student(path: Path) -> tuple[nn.Module, SavedStudent]:
    """The student of a file or of a run's folder, in the precision of its weights, and all that the file holds.

    Raises DataError for a file that is not a student's, or whose student is not installed here.
    """
    saved = read_student(path)
    dtype = next(weight.dtype for weight in saved.weights.values() if weight.is_floating_point())
    student = build(saved.config, dtype)
    check_weights(student, saved.weights, str(path), "the file is damaged or of another version: make it again")
    student.load_state_dict(saved.weights)
    return student, saved


def load_weights(student: nn.Module | Student, path: Path) -> SavedStudent:
    """Load a file's weights into a student that was built to the same configuration; what else the file holds.

    A different max_neighbors is a warning: it changes the graph, not what the weights are. Raises ConfigError with
    the options to set where anything else differs, DataError for a file that is not a student's.
    """
    saved = read_student(path)
    arguments = {name: value for name, value in saved.config.items() if name != "_target_"}
    remedy = "set " + as_options(arguments)
    if saved.config["_target_"] != target_of(type(student)):
        raise ConfigError(
            f"student_weights={path} are of {saved.config['_target_']}, the student is {target_of(type(student))}",
            f"choose that student with student=…, and {remedy}",
        )
    for name, value in arguments.items():
        own = getattr(student, name, value)
        if own != value and name == "max_neighbors":
            log.warning("student_weights=%s were trained with max_neighbors=%s, this student has %s", path, value, own)
        elif own != value:
            raise ConfigError(
                f"student_weights={path} are of a student with {name}={value}, this one has {own}", remedy
            )
    check_weights(student, saved.weights, f"student_weights={path}", remedy, ConfigError)
    student.load_state_dict(saved.weights)
    return saved


def build(config: dict[str, Any], dtype: torch.dtype) -> nn.Module:
    """An untrained student, computed (also its constants) in `dtype`."""
    with default_dtype(dtype):
        kind = student_class(config["_target_"])
        return kind(**{name: value for name, value in config.items() if name != "_target_"})


def student_class(target: str) -> type[nn.Module]:
    """The class that `_target_` names. Raises DataError for what is not installed, or is no torch module."""
    module, _, name = target.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(f"the student {target} is not here ({error})", "put its module on PYTHONPATH") from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise DataError(f"{target} is not a student", "only classes of torch.nn.Module are")
    return kind


def check_weights(
    student: nn.Module | Student,
    weights: dict[str, Tensor],
    place: str,
    remedy: str,
    kind: type[ConfigError] | type[DataError] = DataError,
    called: dict[str, str] | None = None,
) -> None:
    """Raises `kind` where weights are missing, surplus or of another shape; called: names to use in the message."""
    names = called or {}
    wanted = student.state_dict()
    missing = [name for name in wanted if name not in weights]
    surplus = [names.get(name, name) for name in weights if name not in wanted]
    if missing:
        raise kind(f"{place} lacks {len(missing)} of {len(wanted)} weights of the student, first {missing[0]}", remedy)
    if surplus:
        raise kind(f"{place} has {len(surplus)} weights that the student does not have, first {surplus[0]}", remedy)
    for name, weight in weights.items():
        if weight.shape != wanted[name].shape:
            have, need = list(weight.shape), list(wanted[name].shape)
            raise kind(f"{place}: {names.get(name, name)} has shape {have}, the student {need}", remedy)


def as_options(arguments: dict[str, Any]) -> str:
    """A student's arguments as options of a command line."""
    return " ".join(f"++student.{name}={json.dumps(value)}" for name, value in arguments.items())
