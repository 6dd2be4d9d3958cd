"""Arguments of the command line as Hydra reads them: paths and texts are quoted, and a group may be null."""

import shlex
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from jointkd.cli.config_tree import choices, groups, is_group, is_optional
from jointkd.cli.paths import FILES, LISTS, expand_home
from jointkd.errors import ConfigError, first_line

TEXTS = {
    *("name", "data.name", "dihedral"),
    *("teacher.name", "teacher.level_of_theory", "teacher.licence", "teacher.citation"),
}


def as_hydra_reads(arguments: list[str]) -> list[str]:
    """The arguments with paths and texts quoted where they must be, ~ expanded in paths, and no group set to null."""
    words = [_with_choice(_quoted(word)) for word in arguments]
    return [word for word in words if word]


def parse(argument: str) -> Override:
    """An option of the command line. Raises ConfigError, which says how to quote a value that cannot be read."""
    name, equals, value = argument.partition("=")
    try:
        override: Override = OverridesParser.create().parse_override(argument)
    except HydraException as error:
        if not equals:
            raise ConfigError(f"{argument} cannot be read", without_value(argument)) from error
        raise ConfigError(
            f"{argument} cannot be read ({first_line(error)})",
            f"if the value is a text, quote it, as {shlex.quote(f'{name}={quote(value)}')}",
        ) from error
    single = override.key_or_group in FILES - LISTS and not override.is_sweep_override()
    if single and isinstance(override.value(), list | dict):
        raise ConfigError(f"{argument} must be one path", "give a folder, or a pattern with * for several files")
    return override


def option_name(word: str) -> str:
    """The dotted name of the option that a word of the command line sets, adds or removes."""
    return word.partition("=")[0].lstrip("+~")


def without_value(word: str) -> str:
    """How a word without `=` should have been written."""
    if word == "help":
        return "write --help"
    if is_group(word):
        return f"write {word}=…, with one of {', '.join(choices(word))}"
    named = [f"{group}={word}" for group in groups() if word in choices(group)]
    if named:
        return f"write {' or '.join(named)}"
    return "write options as name=value, and around one with a space quotes, as 'data.path=my file.xyz'"


def quote(value: str) -> str:
    """A text in the quotes of Hydra's grammar."""
    return '"' + value.replace('"', '\\"') + '"'


def _quoted(argument: str) -> str:
    """An argument whose value, a path or a text, Hydra takes as it was written."""
    name, equals, value = argument.partition("=")
    option = name.lstrip("+")
    if not equals or option not in FILES | TEXTS:
        return argument
    if option in FILES:
        value = expand_home(value)
    argument = f"{name}={value}"
    try:
        override: Override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return f"{name}={quote(value)}"
    literal = not override.is_sweep_override() and override.value() == value
    named = value not in ("", "null") and Path(value).exists()  # such as `a,b.xyz`, which reads like a sweep
    return f"{name}={quote(value)}" if named and not literal else argument


def _with_choice(argument: str) -> str:
    """An argument that sets a group to null, as the choice `none` of that group, or as nothing if null is its default.

    Other groups have no such choice and are refused by `check_choices`.
    """
    group, _, value = argument.partition("=")
    if value not in ("null", "None") or not is_group(group):
        return argument
    if "none" in choices(group):
        return f"{group}=none"
    return "" if is_optional(group) else argument
