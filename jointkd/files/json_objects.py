"""Objects in files of JSON that may be missing or damaged."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jointkd.files.run_files import SPLIT


def read_json(file: Path) -> dict[str, Any] | None:
    """What a JSON file says, None where it is missing, damaged, or not a dictionary."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def mapping(value: object) -> Mapping[str, Any]:
    """A dictionary of a file; empty where something else stands in its place."""
    return value if isinstance(value, dict) else {}


def split_beside(student: Path) -> dict[str, list[Any]]:
    """The keys of the structures of each split by the file beside a student's; {} where it does not say."""
    keys = mapping((read_json(student.with_name(SPLIT)) or {}).get("keys"))
    return {split: part for split, part in keys.items() if isinstance(part, list)}
