"""Extended XYZ, structure by structure: every line of the file is read, or the line at which reading stops is named."""

import io
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ase import Atoms
from ase.io.extxyz import read_xyz

from jointkd.data.readers.text_files import numbered, open_text
from jointkd.errors import first_line

SITE_LABELS = {"CA", "CD", "CE", "HE", "HG", "HO", "ND", "NE", "SG"}  # of proteins that are elements in lower case


def read(file: Path) -> Iterator[Atoms]:
    """The structures of a file, plain or compressed, one in memory at a time. Raises ValueError, which names a line."""
    with open_text(file) as stream:
        for number, text in blocks(numbered(stream)):
            try:
                check_symbols(text)
                (atoms,) = read_xyz(io.StringIO(text), index=slice(None))
            except KeyError as error:
                raise ValueError(f"line {number} begins a structure with {error}, which must be an element") from error
            except Exception as error:
                raise ValueError(f"line {number} begins a structure that is malformed: {first_line(error)}") from error
            yield atoms


def check_symbols(text: str) -> None:
    """Raise ValueError for a symbol that may be an element or the label of a site, which ASE takes for the element."""
    _, comment, *atoms = text.splitlines()
    if "Properties" in comment and "Properties=species" not in comment:
        return
    for symbol in {line[:4].split(maxsplit=1)[0] for line in atoms if line.strip()} & SITE_LABELS:
        raise ValueError(f"{symbol} may be {symbol.capitalize()} or a site of {symbol[0]}: write the element")


def blocks(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """The number of the first line and the text of each structure; empty lines between structures are skipped.

    ASE's reader ends at the first empty line, without a word about the structures that follow.
    Raises ValueError for a line that is no number of atoms, and for a structure that the end of the file cuts short.
    """
    following = next(lines, None)
    while following is not None:
        number, header = following
        if not header.strip():
            following = next(lines, None)
            continue
        count = number_of_atoms(header, number)
        body = [line for _, line in islice(lines, count + 1)]
        if len(body) <= count:
            raise ValueError(f"line {number} announces {count} atoms, of which {max(len(body) - 1, 0)} follow")
        following = next(lines, None)
        while following is not None and following[1].lstrip().startswith("VEC"):  # lattice vectors as ADF writes them
            body.append(following[1])
            following = next(lines, None)
        yield number, "".join([header, *body])


def number_of_atoms(header: str, number: int) -> int:
    """The count in the first line of a structure. Raises ValueError."""
    text = header.strip()
    if not (text.isascii() and text.isdigit() and len(text) < len(str(sys.maxsize))):
        raise ValueError(f"line {number} must be a number of atoms, not {text[:40]!r}")
    return int(text)
