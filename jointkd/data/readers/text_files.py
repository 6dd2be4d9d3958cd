"""Text files, plain or compressed, as lines with their numbers."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
LONGEST = 1 << 24  # characters of a line; a longer one is no text


def open_text(file: Path, errors: str = "strict") -> TextIO:
    """A text file in UTF-8, decompressed as its suffix says. errors: what becomes of other bytes, as in `open`."""
    stream: TextIO = OPENERS.get(file.suffix, open)(file, "rt", encoding="utf-8-sig", errors=errors)
    return stream


def numbered(stream: TextIO) -> Iterator[tuple[int, str]]:
    """The lines of a text, counted from 1. Raises ValueError for a line without end."""
    number = 0
    while line := stream.readline(LONGEST):
        number += 1
        if len(line) == LONGEST:
            raise ValueError(f"line {number} is longer than {LONGEST:,} characters")
        yield number, line
