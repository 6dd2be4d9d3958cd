"""Provenance of prepared sets: the reader, its arguments and files, the subset and the screening that determine a set.

It names the set, so that the set is found again, and a set that the user names is checked against it.
"""

import dataclasses
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jointkd.data.readers.paths import candidates
from jointkd.errors import ConfigError
from jointkd.files.arrays import MANIFEST
from jointkd.moved import first_name
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

READERS = 2  # version; raise it when a reader, a subset rule or the screening yields other frames from the same files
FILES = ("path", "source", "train", "val", "test")  # arguments of readers that name files
LOCATIONS = ("source", "downloads", "url", "sha256")  # arguments that say where files come from, not what they contain

Reader = Callable[[], tuple[Iterable[Frame], dict[int, float]]]  # frames, free-atom energies in eV by atomic number
SubsetRule = Callable[[Iterable[Frame]], Iterator[Frame]]


def origin_of(
    read: Reader, subset: SubsetRule | None, max_force: float, unlabelled: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything that determines the content of a set, as JSON.

    These are the version of the readers, the functions with their arguments, the files of structures that are added,
    and the size and modification time of all files that these name.
    """
    functions = {"read": description(read), "subset": description(subset), "max_force": max_force}
    named = [*named_files(functions), *(file for path in unlabelled for file in candidates(path))]
    added = {"unlabelled": list(unlabelled)} if unlabelled else {}
    return {"readers": READERS, **functions, **added, "files": {str(file): list(state_of(file)) for file in named}}


def description(value: Any) -> Any:
    """A value as JSON: functions by name, partial functions and dataclasses with their arguments."""
    if isinstance(value, partial):
        bound = inspect.signature(value.func).bind_partial(*value.args, **value.keywords)
        return {"function": description(value.func), **description(bound.arguments)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"function": description(type(value)), **description(vars(value))}
    if isinstance(value, dict):
        return {str(name): description(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [description(entry) for entry in value]
    if callable(value):
        return first_name(f"{value.__module__}.{value.__qualname__}")
    return str(value) if isinstance(value, Path) else value


def named_files(functions: Any) -> Iterator[Path]:
    """The files that the arguments called as one of FILES name; those of a folder that is read are all its files."""
    for name, entry in functions.items():
        if isinstance(entry, dict):
            yield from named_files(entry)
        elif name in FILES and isinstance(entry, str) and entry:
            yield from candidates(entry)


def state_of(file: Path) -> tuple[int, int]:
    """Size (bytes) and modification time (ns) of a file."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def warn_of_changed_sources(path: Path, origin: dict[str, Any]) -> None:
    """Log a warning if a set with the same options exists whose files or readers have changed since."""
    sources = {"files": None, "readers": None}
    for other in sorted(path.parent.glob(f"{path.name.rpartition('-')[0]}-*/{MANIFEST}")):
        before = json.loads(other.read_text(encoding="utf-8")).get("of", {})
        if {**before, **sources} == {**origin, **sources}:
            changed = [name for name, state in origin["files"].items() if before["files"].get(name) != state]
            if before.get("readers") != origin.get("readers"):
                changed.append("jointkd's readers")
            log.warning("%s changed since %s was prepared; preparing again", ", ".join(changed), other.parent)


def check_matches(folder: Path, recorded: dict[str, Any], requested: dict[str, Any]) -> None:
    """Raise ConfigError if the prepared set in `folder` was made with other options than the requested ones.

    It is also raised if a source file is present and has another size. The folder of a source file does not matter, and
    source files may be absent: a set can be used without them.
    """
    before, now = options_of(recorded), options_of(requested)
    differing = sorted(option for option in before.keys() & now.keys() if before[option] != now[option])
    if differing:
        made_with, given = (
            " ".join(f"{option}={'null' if values[option] is None else values[option]}" for option in differing)
            for values in (before, now)
        )
        raise ConfigError(
            f"data.prepared={folder} was made with {made_with}, but the options are {given}",
            "give the options that it was made with, or set data.prepared to the folder that contains it",
        )
    if recorded.get("readers") != requested.get("readers"):
        log.warning(
            "%s was made by another version of jointkd's readers; prepare it again if you have its files", folder
        )


def options_of(origin: dict[str, Any]) -> dict[str, Any]:
    """The options of a provenance record by name, paths reduced to their last part, and the sizes of the files."""
    values = {name: value for name, value in flat(origin) if not name.startswith(("files.", "readers"))}
    reader = {"reader": values.pop("read.function", values.pop("read", None))}
    options = {f"data.{name.removeprefix('read.')}": value for name, value in values.items()}
    if path := options.get("data.path"):
        options["data.path"] = Path(path).name
    options["data.unlabelled"] = [Path(path).name for path in options.get("data.unlabelled", [])]
    sizes = {f"bytes of {Path(file).name}": size for file, (size, _) in origin["files"].items()}
    return reader | options | sizes


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every entry of nested dictionaries with its dotted name, except LOCATIONS."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif name not in LOCATIONS:
            yield f"{prefix}{name}", value
