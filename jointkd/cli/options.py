"""Checks that the options of a command exist, and that their values have the types of the parameters they set."""

import inspect
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import hydra
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jointkd.cli.arguments import parse
from jointkd.cli.config_tree import CONF, choices, flatten, is_group, is_optional, is_private, read_yaml
from jointkd.cli.other_names import meant_by
from jointkd.cli.paths import check_files
from jointkd.cli.sweeps import check_launcher
from jointkd.errors import ConfigError, UserError, did_you_mean, find_cause, first_line

NOT_PASSED_ON = {"teacher.python"}  # the interpreter that builds a teacher, not a parameter of it
TARGET = "_target_"
OPEN = {"callbacks", "logger", "method.terms", "schedulers"}  # nodes of any number of objects
# options that name a file of one's own, with the group and the choice that they belong to
FILE_OF = {
    **dict.fromkeys(("data.path", "data.train", "data.val", "data.test"), ("data", "extxyz")),
    "teacher.checkpoint": ("teacher", "mace"),
}
OWN_FILE = {"data": "data=extxyz data.path", "teacher": "teacher=mace teacher.checkpoint", "student": "finetune"}
MISSPELT = 0.85  # likeness to an option above which a name is that option's, and not another program's
SEVERAL = {"logger", "experiment", "recipe"}  # groups of which a list may be chosen
PLAIN = {bool, int, float, str, NoneType, dict, list}  # the types that values are checked for


def check_overrides(name: str, arguments: list[str]) -> None:
    """Check `arguments` against `conf/<name>.yaml` before any file is written.

    Raises ConfigError with the nearest existing option or choice, or with a required option that is missing.
    """
    config, overrides = compose(name, arguments)
    check_files(config, [override.key_or_group for override in overrides if override.is_sweep_override()])
    check_set(config)


def compose(name: str, arguments: list[str]) -> tuple[DictConfig, list[Override]]:
    """The configuration `conf/<name>.yaml` with options that exist; and these options, without those of Hydra.

    Raises ConfigError with the nearest existing option or choice.
    """
    overrides = [parse(argument) for argument in arguments]
    for override in overrides:
        if override.key_or_group == "hydra/launcher":
            check_launcher(str(override.value()))
    overrides = [override for override in overrides if not override.is_hydra_override()]
    for override in overrides:
        if is_group(override.key_or_group):
            check_choices(override)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = hydra.compose(name, [first_of_sweep(override) for override in overrides])
        except (HydraException, OmegaConfBaseException) as error:
            groups = [first_of_sweep(override) for override in overrides if is_group(override.key_or_group)]
            chosen = hydra.compose(name, groups)
            for override in overrides:
                if not (is_group(override.key_or_group) or override.is_add() or override.is_force_add()):
                    check_exists(name, chosen, override.key_or_group)
            raise ConfigError(str(error), "see --help for the options") from error
    if any(not is_group(override.key_or_group) for override in overrides):
        check_switches(name, config)
    if "method" in config:
        check_owner(overrides, {override.key_or_group: override.value() for override in overrides})
    for override in overrides:
        if override.is_add() and not override.is_sweep_override():  # as `+task=1,2`, which only counts jobs
            check_added(config, override.key_or_group)
    return config, overrides


@cache
def known_options(name: str) -> Mapping[str, object]:
    """The options of a command, as it is without any, by dotted name."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return flatten(OmegaConf.to_container(hydra.compose(name)))


def check_switches(name: str, config: DictConfig) -> None:
    """Raise ConfigError for other values than true and false of an option that is one of these by default.

    This concerns options that are no parameters of a `_target_`, whose types `check_values` knows.
    """
    given = flatten(OmegaConf.to_container(config))
    for path, default in known_options(name).items():
        parent = path.rpartition(".")[0]
        target = f"{parent}.{TARGET}" if parent else TARGET
        if isinstance(default, bool) and target not in given and not isinstance(given.get(path, default), bool):
            raise ConfigError(f"{path}={given[path]} must be true or false", f"give {path}=true or {path}=false")


def check_set(config: DictConfig) -> None:
    """Raise ConfigError for a required option that is missing."""
    for path, value in flatten(OmegaConf.to_container(config)).items():
        if value == MISSING:
            raise ConfigError(f"{path} is not set", f"give {path}=…")


def first_of_sweep(override: Override) -> str:
    """An override as it was written; for a sweep, with the first of its values."""
    line = override.input_line or ""
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return f"{override.key_or_group}={choices(override.key_or_group)[0]}"
    if override.is_sweep_override():
        return f"{line.split('=', 1)[0]}={next(iter(override.sweep_string_iterator()))}"
    return line


def check_owner(overrides: list[Override], options: Mapping[str, Any]) -> None:
    """Raise ConfigError for a file of one's own that would take the place of the example's, under its name.

    overrides: which groups are chosen; options: values by dotted name.
    """
    chosen = {override.key_or_group: str(override.value()) for override in overrides if is_group(override.key_or_group)}
    for path, value in options.items():
        group, owner = FILE_OF.get(path, ("", ""))
        if group and "experiment" not in chosen and chosen.get(group, "demo") == "demo":
            raise ConfigError(f"{path}={value} is not a file of {group}=demo", f"add {group}={owner}")


def check_choices(override: Override) -> None:
    """Raise ConfigError for a choice that the group does not have."""
    group, known = override.key_or_group, choices(override.key_or_group)
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP or override.is_delete():
        return
    chosen = list(override.sweep_string_iterator()) if override.is_sweep_override() else override.value()
    for choice in chosen if isinstance(chosen, list) else [chosen]:
        if str(choice) not in known:
            name = "null" if choice is None else str(choice)
            hint = file_hint(group, name) or did_you_mean(name, known)
            raise ConfigError(f"there is no {group}={name}", f"{hint}choose one of {', '.join(known)}")
    if isinstance(chosen, list) and not override.is_sweep_override() and group not in SEVERAL:
        raise ConfigError(
            f"{override.input_line} must be one choice",
            f"give one of them, or -m {group}={','.join(map(str, chosen))} for a run of each",
        )


def file_hint(group: str, name: str) -> str:
    """How a file, or what looks like the path of one, is given where a choice was expected; empty for other words."""
    if group in OWN_FILE and name and ({".", "/"} & set(name) or Path(name).exists()):
        return f"a file is given as {OWN_FILE[group]}={name}; else "
    return ""


def check_exists(name: str, config: DictConfig, path: str) -> None:
    """Raise ConfigError if a configuration of `conf/<name>.yaml` has no option with the dotted name `path`."""
    known = flatten(OmegaConf.to_container(config))
    if path not in known:
        group = path.partition(".")[0]
        if group not in known and is_optional(group, name):
            raise ConfigError(
                f"{path} belongs to a {group}, and none is chosen",
                f"add {group}=…, one of {', '.join(choices(group))}",
            )
        options = {name: value for name, value in known.items() if not is_private(name)}
        meant = [] if did_you_mean(path, options, MISSPELT) else meant_by(path, options)
        if meant:
            raise ConfigError(f"there is no option {path}", f"did you mean {' or '.join(meant)}? --help lists all")
        parent = path.rpartition(".")[0]
        siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == parent]
        shown = [name for name in siblings if not is_private(name)]
        listing = f"{parent or 'the top level'} has {', '.join(shown)}" if shown else "see --help for the options"
        target = known.get(f"{parent}.{TARGET}" if parent else TARGET)
        add = f" (+{path}=… adds a parameter of {target})" if target else ""
        raise ConfigError(
            f"there is no option {path}",
            did_you_mean(path, options) + listing + add,
        )


def check_added(config: DictConfig, path: str) -> None:
    """Raise ConfigError for an option added with + that belongs to nothing that is built, so that nobody reads it."""
    names = path.split(".")
    around = [".".join(names[:count]) for count in range(len(names))]
    built = any(OmegaConf.select(config, f"{node}.{TARGET}" if node else TARGET) for node in around)
    if not (built or is_group(path) or OPEN.intersection(around)):
        raise ConfigError(
            f"there is no option {path}, and nothing would read it",
            f"+NODE.NAME=… adds a parameter of what NODE.{TARGET} names, or one of {', '.join(sorted(OPEN))}",
        )


def check_values(config: DictConfig) -> None:
    """Raise ConfigError for an option that is not a parameter of the `_target_` beside it, or has another type."""
    check_nodes(config)
    written = flatten(OmegaConf.to_container(config))
    for path, value in flatten(OmegaConf.to_container(config, resolve=True)).items():
        parent, _, name = path.rpartition(".")
        target = written.get(f"{parent}.{TARGET}" if parent else TARGET)
        if target is None or is_private(path) or path in NOT_PASSED_ON:
            continue
        parameters = parameters_of(f"{parent}.{TARGET}" if parent else TARGET, target)
        if name in parameters:
            check_type(path, value, written.get(path), plain_types(parameters[name].annotation))
        elif all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
            remedy = f"{did_you_mean(name, parameters)}{target} has the parameters {', '.join(parameters)}"
            raise ConfigError(f"there is no option {path}", remedy)


def check_nodes(config: DictConfig) -> None:
    """Raise ConfigError for a value in the place of a whole group of options, as `optimizer=sgd`."""
    for path, node in flatten(read_yaml(CONF / "train.yaml")).items():
        needed = isinstance(node, dict) and "." not in path and path != "hydra"
        if needed and path not in config and "method" in config:
            raise ConfigError(f"~{path} removes options that are needed", "leave it out of the command")
        value = OmegaConf.select(config, path, default=node)
        if isinstance(node, dict) and not isinstance(value, Mapping):
            options = ", ".join(f"{path}.{name}" for name in node)
            remedy = f"~{path} leaves it out" if value is None else f"set {options}"
            raise ConfigError(f"{path}={'null' if value is None else value} must be a group of options", remedy)


def parameters_of(option: str, target: str) -> Mapping[str, inspect.Parameter]:
    """The parameters of a class or function, by its import path. Raises ConfigError where there is none."""
    remedy = "give the import path of a class or function"
    try:
        return inspect.signature(hydra.utils.get_object(target), eval_str=True).parameters
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{option}={target} cannot be called ({first_line(error)})", remedy) from error
    except ImportError as error:
        if find_cause(error, UserError):
            raise
        raise ConfigError(f"{option}={target} cannot be imported ({error})", remedy) from error


def check_type(path: str, value: Any, written: Any, types: set[type]) -> None:
    """Raise ConfigError for a value of another type than `types`; a reference is named by the option it refers to."""
    origin = re.fullmatch(r"\$\{([\w.]+)\}", str(written))
    option = origin[1] if origin else path
    if isinstance(value, float) and math.isnan(value):
        raise ConfigError(f"{option}={value} is not a number", "give a number")
    unset = origin and value is None  # such as trainer.max_epochs, to which an unused scheduler refers
    if types and type(value) in PLAIN - types and not unset:
        allowed = " or ".join(sorted("null" if kind is NoneType else kind.__name__ for kind in types))
        each = f", or -m {option}={','.join(map(str, value))} for a run of each" if isinstance(value, list) else ""
        raise ConfigError(f"{option}={value} is of the wrong type", f"give it a value of type {allowed}{each}")


def plain_types(annotation: Any) -> set[type]:
    """The types that an annotation allows; empty if it has others than those of YAML, and tensors.

    YAML has no tensors, and they are known by their name, because torch takes seconds to import.
    """
    union = get_origin(annotation) in (Union, UnionType)
    types = {get_origin(kind) or kind for kind in (get_args(annotation) if union else [annotation])}
    types = {kind for kind in types if getattr(kind, "__name__", "") != "Tensor"}
    if not types <= PLAIN:
        return set()
    return types | ({int} if float in types else set())
