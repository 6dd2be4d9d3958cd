"""A run's folder read as plain data: nothing that it names is built, and the paths in it may have moved."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import yaml

from jointkd.data.splits import SPLITS
from jointkd.errors import DataError, first_line
from jointkd.files.run_files import CONFIGURATION, PROVENANCE, SPLIT
from jointkd.files.run_search import instead_of_run
from jointkd.labels.records import TeacherIdentity

LARGEST_CONFIG = 1 << 20  # bytes; a hundred times the configuration of a run

DEEPEST = 50  # entries in each other


@dataclass(frozen=True)
class RunRecord:
    """What a run's folder says of it. Raises DataError where it is not the folder of a run, or damaged."""

    folder: Path
    config: Mapping[str, Any]  # config.yaml
    keys: Mapping[str, list[str]]  # the structures of each split
    teacher: TeacherIdentity | None  # whose labels it was trained and tested with

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        file = folder / CONFIGURATION
        if not file.exists():
            raise DataError(f"run={folder} holds no finished run", instead_of_run(folder))
        return cls(folder, read_config(file), read_split(folder / SPLIT), read_teacher(folder / PROVENANCE))

    def part(self, name: str) -> dict[str, Any]:
        """A group of the configuration. Raises DataError where it is missing."""
        return group_of(self.config, name, self.folder / CONFIGURATION)

    def find(self, path: str) -> Path | None:
        """Where a recorded path is now: as it is, in the run's folder, or in one of the folders above it."""
        written, folder = Path(path).expanduser(), self.folder.absolute()
        for parent in (Path.cwd(), folder, *folder.parents):
            if (parent / written).exists() or glob(str(parent / written)):
                return parent / written
        return None


def group_of(config: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    """A group of the configuration in a file. Raises DataError where it is missing."""
    if not isinstance(config.get(name), dict):
        raise damaged(file, f"it has no group {name}")
    return dict(config[name])


def read_config(file: Path) -> dict[str, Any]:
    """A configuration without its interpolations. Raises DataError."""
    try:
        if file.stat().st_size > LARGEST_CONFIG:
            raise damaged(file, f"it is larger than {LARGEST_CONFIG} bytes")
        text = file.read_text(encoding="utf-8")
        check_bounds(text)
        config = yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise damaged(file, first_line(error)) from error
    if not isinstance(config, dict):
        raise damaged(file, "it is not a configuration")
    return config


def check_bounds(text: str) -> None:
    """Raise ValueError for YAML with aliases, which expand without bound, or so deep that parsing takes for ever."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:
            raise ValueError(f"it has aliases, or more than {DEEPEST} nested entries")


def read_split(file: Path) -> dict[str, list[str]]:
    """The content keys of the structures of each split. Raises DataError."""
    try:
        keys = json.loads(file.read_text(encoding="utf-8"))["keys"]
        return {split: [str(key) for key in keys[split]] for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(file, first_line(error)) from error


def read_teacher(file: Path) -> TeacherIdentity | None:
    """The teacher whose labels a run used, None for a run without one. Raises DataError."""
    try:
        teacher = json.loads(file.read_text(encoding="utf-8"))["teacher"]
        return None if teacher is None else TeacherIdentity.from_json(teacher)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(file, first_line(error)) from error


def damaged(file: Path, reason: str) -> DataError:
    """The error for a file of a run's folder."""
    return DataError(f"{file} is missing or damaged ({reason})", "copy the whole folder of the run again")
