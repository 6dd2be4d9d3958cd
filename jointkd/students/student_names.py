"""The names by which students are told apart."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def distinct_names(paths: Sequence[Path], origins: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each student: its method; where several have it, with student, seed, folder, or at last the path."""
    forms = (
        lambda path, origin: str(origin["method"]) if "method" in origin else path.stem,
        lambda path, origin: f"{origin.get('method', path.stem)} seed {origin.get('seed', '')}".strip(),
        lambda path, origin: f"{origin.get('method', path.stem)} {origin.get('student', '')} {origin.get('seed', '')}",
        lambda path, origin: f"{origin.get('method', path.stem)} ({path.name})",
        lambda path, origin: str(path),
    )
    names: list[str] = []
    for form in forms:
        names = [form(path, origin) for path, origin in zip(paths, origins, strict=True)]
        if max(Counter(names).values()) == 1:
            break
    return names
