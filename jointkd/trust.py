"""Builds what a file names: only classes that are allowed, with plain arguments of the types that they declare.

A file from elsewhere may name anything (`_target_: os.system`), and importing a module already runs its code. So a name
is compared with those allowed before anything is imported.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from jointkd.errors import ConfigError, DataError, UserError, first_line
from jointkd.moved import current_name

TARGET = "_target_"
HYDRA = ("_convert_", "_recursive_")  # how Hydra passes arguments, which says nothing about them

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Trust:
    """The import paths that a file may name: those that `known` admits, and those that the user trusts."""

    known: Callable[[str], bool]
    names: frozenset[str] = frozenset()

    def admits(self, target: str) -> bool:
        """Whether the class of an import path may be imported and built."""
        return target in self.names or self.known(target)


Consent = str | Iterable[str] | bool | None  # the option `trust`: import paths of classes; True: compiled code


def trusted_names(trust: Consent) -> frozenset[str]:
    """The option `trust`, one import path or several, as a set; True names none. Raises ConfigError for others."""
    if isinstance(trust, bool):
        return frozenset()
    names = [trust] if isinstance(trust, str) else trust or ()
    if not (isinstance(names, Iterable) and all(isinstance(name, str) for name in names)):
        raise ConfigError(f"trust={trust} must be an import path, or a list of them", "give trust=my_module.MyStudent")
    return frozenset(names)


def require_consent(trust: Consent, path: object) -> None:
    """Raise DataError for a file of compiled code unless `trust` is True."""
    if trust is not True:
        raise DataError(
            f"{path} is compiled code, which would run as it is loaded",
            "if you trust it, add trust=true (from Python: trust=True), or use the student's file, which is data",
        )


def build_named(options: Any, kind: type[Kind], trust: Trust, place: str) -> Kind:
    """The object of a class that `options` name with `_target_`, beside its arguments. Raises DataError.

    kind: the class must be one of its subclasses; place: the file and the entry, for messages. Arguments with a
    `_target_` of their own are built first, by the same rules.
    """
    cls = named_class(options, kind, trust, place)
    parameters = inspect.signature(cls, eval_str=True).parameters
    more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    arguments: dict[str, Any] = {}
    for name, value in options.items():
        if name in (TARGET, *HYDRA):
            continue
        arguments[name] = with_objects(value, trust, f"{place}: {name}")
        if name in parameters and not fits(arguments[name], parameters[name].annotation):
            raise wrong(f"{place}: {name}={value!r:.80} is of another type than {options[TARGET]} takes")
        if name not in parameters and not more:
            raise wrong(f"{place}: {options[TARGET]} has no argument {name}")
    try:
        return cls(**arguments)
    except UserError:
        raise
    except Exception as error:  # of whatever class the constructor raises for a value that it does not take
        raise wrong(f"{place}: {options[TARGET]} cannot be built ({first_line(error)})") from error


def named_class(options: Any, kind: type[Kind], trust: Trust, place: str) -> type[Kind]:
    """The class that `options` name with `_target_`, imported if it is allowed. Raises DataError."""
    target = options.get(TARGET) if isinstance(options, Mapping) else None
    if not (isinstance(target, str) and all(part.isidentifier() for part in target.split("."))):
        raise wrong(f"{place} names no class with {TARGET}")  # messages repeat the name, for the user to type
    target = current_name(target)
    if not trust.admits(target):
        raise DataError(
            f"{place} names {target}, which is not a class of jointkd: its code would run",
            f"if you trust that code, add trust={target} (from Python: trust=['{target}'])",
        )
    module, _, name = target.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DataError(
            f"{place}: {target} cannot be imported ({first_line(error)})", "put its module on PYTHONPATH"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise wrong(f"{place}: {target} is not a subclass of {kind.__name__}")
    return cls


def with_objects(value: Any, trust: Trust, place: str) -> Any:
    """A plain value in which every mapping with a `_target_` is replaced by the object that it names."""
    if isinstance(value, Mapping):
        if TARGET in value:
            return build_named(value, object, trust, place)
        return {name: with_objects(entry, trust, f"{place}.{name}") for name, entry in value.items()}
    return [with_objects(entry, trust, place) for entry in value] if isinstance(value, list) else value


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value has the type of an annotation; an annotation that says nothing admits every value."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty):
        return True
    if origin in (Union, UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list) and all(any(fits(entry, one) for one in arguments) for entry in value)
    if origin in (dict, Mapping):
        names, entries = arguments
        return isinstance(value, dict) and all(fits(k, names) and fits(v, entries) for k, v in value.items())
    if origin is Callable:
        return callable(value)
    if annotation in (int, float):
        return isinstance(value, (int, annotation)) and not isinstance(value, bool)
    return isinstance(annotation, type) and isinstance(value, annotation)


def wrong(problem: str) -> DataError:
    """The error for a file that names a class or arguments that cannot be right."""
    return DataError(problem, "the file is damaged, or was made by another version of that class")
