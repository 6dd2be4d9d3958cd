"""Options that are written with dashes, as those of other programs are: refused with how they are written here."""

from collections.abc import Mapping
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from jointkd.cli.other_names import meant_by
from jointkd.errors import ConfigError


def check_flags(arguments: list[str], known: Mapping[str, object]) -> None:
    """Raise ConfigError for a word that begins with a dash and is no flag of Hydra, and for a flag without its value.

    known: the options of the command by dotted name, of which one is named where it is meant.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(message, "see --hydra-help for the flags; options are written without dashes, as seed=3")

    parser.error = refuse  # type: ignore[method-assign]
    strange = [word for word in parser.parse_known_args(arguments)[1] if word.startswith("-")]
    if strange:
        word = strange[0]
        rest = arguments[arguments.index(word) + 1 :]
        option = without_dashes(word, rest, known)
        raise ConfigError(f"{word} is not a flag", f"write options without dashes, as {option}")


def without_dashes(word: str, rest: list[str], known: Mapping[str, object]) -> str:
    """An option as it is written here. rest: the words after it, the first of which may be its value."""
    name, equals, value = word.lstrip("-").partition("=")
    if not equals:
        value = rest[0] if rest and "=" not in rest[0] and not rest[0].startswith("-") else "…"
    name = name.replace("-", "_")
    meant = [name] if name in known else meant_by(name, known)
    return f"{meant[0] if meant else name}={value}"
