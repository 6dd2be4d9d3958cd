"""What a prepared set is made from: which set is the one asked for, and whether one that is named is."""

import dataclasses
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

from jointkd.errors import ConfigError
from jointkd.files.arrays import MANIFEST
from jointkd.moved import first_name
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

READERS = 1  # raise it where a reader, a rule of subsets or a check gives other frames of the same files than before
PLACES = ("source", "downloads", "url", "sha256")  # where files come from: the same set may come from elsewhere

Reader = Callable[[], tuple[Iterable[Frame], dict[int, float]]]  # frames, free-atom energies in eV by atomic number
SubsetRule = Callable[[Iterable[Frame]], Iterator[Frame]]


def origin_of(read: Reader, subset: SubsetRule | None, max_force: float) -> dict[str, Any]:
    """What decides the content of a set: functions with their arguments, size and time of files these name, and the
    version of the readers."""
    described = {"read": description(read), "subset": description(subset), "max_force": max_force}
    files = {name: list(found) for text in named_files(described) for name, found in files_of(text).items()}
    return {"readers": READERS, **described, "files": files}


def description(value: Any) -> Any:
    """A value as JSON: functions by name, partial ones and dataclasses with what they were given."""
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


def named_files(described: Any) -> Iterator[str]:
    """The values of all arguments that name what is read: those called `path` or `source`."""
    for name, entry in described.items():
        if isinstance(entry, dict):
            yield from named_files(entry)
        elif name in ("path", "source") and isinstance(entry, str) and entry:
            yield entry


def files_of(text: str) -> dict[str, tuple[int, int]]:
    """Size and time of the files that an argument names: a file, all in a folder, or those a pattern fits."""
    found = [Path(name) for name in sorted(glob(str(Path(text).expanduser())))]
    files = [file for path in found for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return {str(file): (file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()}


def tell_of_others(path: Path, origin: dict[str, Any]) -> None:
    """Say so where a set of the same settings was made from files, or by readers, that have changed since."""
    sources = {"files": None, "readers": None}
    for other in sorted(path.parent.glob(f"{path.name.rpartition('-')[0]}-*/{MANIFEST}")):
        before = json.loads(other.read_text()).get("of", {})
        if {**before, **sources} == {**origin, **sources}:
            changed = [name for name, found in origin["files"].items() if before["files"].get(name) != found]
            if before.get("readers") != origin.get("readers"):
                changed.append("jointkd's way to read them")
            log.warning("%s changed since %s was prepared; prepared again", ", ".join(changed), other.parent)


def check_agrees(folder: Path, made: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises ConfigError where the prepared set in `folder` was made with other options than are asked for, or from a
    file that is here and differs. Files may be elsewhere, or not be here: a set can be used without them."""
    before, now = options_of(made), options_of(asked)
    differing = sorted(option for option in before.keys() & now.keys() if before[option] != now[option])
    if differing:
        was, wanted = (
            " ".join(f"{option}={'null' if found[option] is None else found[option]}" for option in differing)
            for found in (before, now)
        )
        raise ConfigError(
            f"data.prepared={folder} was made with {was}, and asked for is {wanted}",
            "give the options that it was made with, or the folder that it is in as data.prepared",
        )
    if made.get("readers") != asked.get("readers"):
        log.warning("%s was made by another version of jointkd's readers; where its files are, prepare again", folder)


def options_of(origin: dict[str, Any]) -> dict[str, Any]:
    """What an origin says of options, by their names, and the size of each file; a path by its last part."""
    found = {name: value for name, value in flat(origin) if not name.startswith(("files.", "readers"))}
    reader = {"reader": found.pop("read.function", found.pop("read", None))}
    options = {f"data.{name.removeprefix('read.')}": value for name, value in found.items()}
    if path := options.get("data.path"):
        options["data.path"] = Path(path).name
    sizes = {f"bytes of {Path(file).name}": size for file, (size, _) in origin["files"].items()}
    return reader | options | sizes


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every entry of a tree of dictionaries with its dotted name, without `PLACES`."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif name not in PLACES:
            yield f"{prefix}{name}", value
