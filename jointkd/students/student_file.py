"""Student files: the class, the arguments and the weights of a student in one safetensors file, without code."""

import json
import logging
import re
from functools import cache
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from jointkd.errors import ConfigError, DataError
from jointkd.files.atomic import write_whole
from jointkd.files.hub import HubAddress, fetch
from jointkd.files.run_files import STUDENT
from jointkd.files.run_search import instead_of_run
from jointkd.runtime import default_dtype
from jointkd.students.base import Student
from jointkd.students.uncertainty import PREFIX, ForceUncertainty
from jointkd.trust import Consent, Trust, build_named, trusted_names

log = logging.getLogger(__name__)

GROUP = "jointkd.students"  # the entry points by which installed packages register their students
FORMAT = 3  # 1: jointkd 0.1, without `undetermined` and without a number; 2: without `uncertainty`
METADATA = ("student", "reference_energies", "origin")
LATER = {"short_range.reach"}  # buffers that earlier files lack: their students have the values of a new one
OWN = re.compile(r"jointkd\.students\.\w+\.\w+")


def target_of(kind: type) -> str:
    """The import path of a class, for `_target_`."""
    return f"{kind.__module__}.{kind.__qualname__}"


class SavedStudent(NamedTuple):
    """The contents of a student file."""

    config: dict[str, Any]  # `_target_` and the arguments of the constructor
    weights: dict[str, Tensor]  # parameters and buffers
    reference_energies: dict[int, float]  # eV by atomic number; predictions are relative to them
    origin: dict[str, Any]  # the run or the checkpoint that the weights come from
    # Combinations of elements (coefficients by atomic number) whose energy the training structures did not determine:
    # total energies of compositions that contain one are estimates.
    undetermined: tuple[dict[int, float], ...] = ()
    uncertainty: ForceUncertainty | None = None  # of the forces on atoms; None: unknown


def save_student(path: Path, saved: SavedStudent) -> None:
    """Write a student file atomically."""
    metadata = {
        "student": json.dumps(saved.config),
        "reference_energies": json.dumps(saved.reference_energies),
        "origin": json.dumps(saved.origin),
        "undetermined": json.dumps(saved.undetermined),
        "jointkd_format": str(FORMAT),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {**saved.weights, **(saved.uncertainty.tensors() if saved.uncertainty else {})}
    own = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}  # some may be shared
    write_whole(path, save(own, metadata))


def locate_student(path: Path) -> Path:
    """The path of a student file: the path itself, the file in it if it is the folder of a run, or the file in the
    hub's cache if it is an address on the hub (`files.hub`). Raises DataError, ConfigError.
    """
    if address := HubAddress.of(path):
        return fetch(address, STUDENT)
    return path / STUDENT if path.is_dir() else path


def read_student(path: Path) -> SavedStudent:
    """Read a student file, given by its path or by the folder of its run. Raises DataError."""
    given, path = path, locate_student(path)
    remedy = "give the folder of a finished run, or a file of python -m jointkd.import_checkpoint"
    if not path.is_file():
        instead = instead_of_run(given) if given.is_dir() else remedy
        raise DataError(f"the student file {path} does not exist", instead)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            check_format(path, int(metadata.get("jointkd_format", 1)), FORMAT)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dictionary)
        config, energies, origin = (json.loads(metadata[entry]) for entry in METADATA)
        if not (isinstance(config, dict) and isinstance(origin, dict)):
            raise ValueError("its metadata are not those of a student")
        undetermined = json.loads(metadata.get("undetermined", "[]"))  # files of version 0.1 have none
        weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}
        zero = by_number(energies), origin, tuple(map(by_number, undetermined))
        return SavedStudent(config, weights, *zero, ForceUncertainty.of_tensors(tensors))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is not a student file ({type(error).__name__}: {error})", remedy) from error


def check_format(path: Path, found: int, newest: int) -> None:
    """Raise DataError for a file of a later format than this version of jointkd knows."""
    if found > newest:
        raise DataError(
            f"{path} has format {found}, and this jointkd {version('jointkd')} reads formats up to {newest}",
            "upgrade it with pip install --upgrade jointkd",
        )


def by_number(values: dict[str, Any]) -> dict[int, float]:
    """Numbers by atomic number, of which JSON makes text."""
    return {int(z): float(value) for z, value in values.items()}


def load_student(path: Path, trust: Consent = ()) -> tuple[nn.Module, SavedStudent]:
    """The student of a file or of the folder of a run, in the precision of its weights, and the contents of the file.

    trust: import paths of classes that the file may name beside jointkd's students and those of entry points. Raises
    DataError if the file is not a student file, or its class is not trusted or not installed.
    """
    saved = read_student(path)
    dtypes = [weight.dtype for weight in saved.weights.values() if weight.is_floating_point()]
    student = build(saved.config, dtypes[0] if dtypes else torch.float32, trust, str(path))
    weights = with_later_buffers(student, saved.weights)
    check_weights(student, weights, str(path), "the file is damaged or of another version: write it again")
    student.load_state_dict(weights)
    return student, saved


def load_weights(student: nn.Module | Student, path: Path) -> SavedStudent:
    """Load the weights of a file into a student of the same class and arguments, and return the contents of the file.

    Another max_neighbors causes a warning only, because it changes the graph but not the weights. Raises ConfigError,
    which names the options to set, if another argument differs, and DataError if the file is not a student file.
    """
    saved = read_student(path)
    arguments = {name: value for name, value in saved.config.items() if name != "_target_"}
    remedy = "set " + as_options(arguments)
    theirs, ours = saved.config.get("_target_"), target_of(type(student))
    if theirs != ours:
        raise ConfigError(
            f"student_weights={path} are of {theirs}, but the student is {ours}",
            f"choose that student with student=…, and {remedy}",
        )
    for name, value in arguments.items():
        own = getattr(student, name, value)
        if own != value and name == "max_neighbors":
            log.warning(
                "student_weights=%s were trained with max_neighbors=%s, but this student has %s", path, value, own
            )
        elif own != value:
            raise ConfigError(
                f"student_weights={path} are of a student with {name}={value}, but this one has {own}", remedy
            )
    weights = with_later_buffers(student, saved.weights)
    check_weights(student, weights, f"student_weights={path}", remedy, ConfigError)
    student.load_state_dict(weights)
    return saved


def with_later_buffers(student: nn.Module | Student, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights with the buffers that students of earlier files did not store, as such students had them."""
    return {**{name: value for name, value in student.state_dict().items() if name in LATER}, **weights}


def build(config: dict[str, Any], dtype: torch.dtype, trust: Consent = (), place: str = "student") -> nn.Module:
    """An untrained student whose weights and constants are computed in `dtype`.

    trust: import paths of classes that `config` may name beside those of `is_known`; place: for messages. Raises
    DataError for other classes, and for arguments that the class does not take.
    """
    with default_dtype(dtype):
        return build_named(config, nn.Module, Trust(is_known, trusted_names(trust)), place)


def is_known(target: str) -> bool:
    """Whether an import path is that of a student of jointkd, or of one that an installed package registers."""
    return OWN.fullmatch(target) is not None or target in registered_students()


@cache
def registered_students() -> frozenset[str]:
    """The import paths of the entry points `jointkd.students` of installed packages."""
    return frozenset(entry.value.replace(":", ".") for entry in entry_points(group=GROUP))


def check_weights(
    student: nn.Module | Student,
    weights: dict[str, Tensor],
    place: str,
    remedy: str,
    kind: type[ConfigError] | type[DataError] = DataError,
    displayed_names: dict[str, str] | None = None,
) -> None:
    """Raise `kind` if weights are missing, additional or of another shape. displayed_names: names for the message."""
    names = displayed_names or {}
    expected = student.state_dict()
    missing = [name for name in expected if name not in weights]
    additional = [names.get(name, name) for name in weights if name not in expected]
    if missing:
        raise kind(
            f"{place} lacks {len(missing)} of {len(expected)} weights of the student, first {missing[0]}", remedy
        )
    if additional:
        raise kind(
            f"{place} has {len(additional)} weights that the student does not have, first {additional[0]}", remedy
        )
    for name, weight in weights.items():
        if weight.shape != expected[name].shape:
            actual, required = list(weight.shape), list(expected[name].shape)
            raise kind(f"{place}: {names.get(name, name)} has shape {actual}, but must have {required}", remedy)


def as_options(arguments: dict[str, Any]) -> str:
    """A student's arguments as options of a command line."""
    return " ".join(f"++student.{name}={json.dumps(value)}" for name, value in arguments.items())
