"""Objects in files of JSON that may be missing or damaged."""

import json
from pathlib import Path
from typing import Any


def read_json(file: Path) -> dict[str, Any] | None:
    """What a JSON file says, None where it is missing, damaged, or not a dictionary."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
