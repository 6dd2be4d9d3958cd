"""The training and test sets of MACE-OFF: extended XYZ files of about a million frames, read as a stream."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from ase.formula import Formula
from ase.io.extxyz import key_val_str_to_dict

from jointkd.data.readers.extxyz import ISOLATED
from jointkd.data.readers.spice import FREE_ATOMS
from jointkd.errors import DataError
from jointkd.structures.frame import Frame

TEXT = (".xyz", ".extxyz")
ENERGIES = ("energy", "REF_energy", "dft_energy")  # eV, in order of preference
FORCES = ("forces", "REF_forces", "dft_forces")  # eV/Å


def read(train: Path, test: Path | None = None) -> tuple[Iterator[Frame], dict[int, float]]:
    """Frames of the training file, then of the test file, and the free-atom energies (eV) at their level of theory.

    The files may be plain, .gz, .tar or .tar.gz (with an .xyz file inside). Frames of `test` have `split="test"`, those
    of `train` have no split. `Frame.group` is the SMILES, or the formula if a frame has none, so that isomers stay
    together. Energies are totals in eV, forces in eV/Å. Frames with `config_type=IsolatedAtom` are left out. Raises
    DataError.
    """
    return both_files(train, test), FREE_ATOMS


def both_files(train: Path, test: Path | None) -> Iterator[Frame]:
    """The frames of the training file, then those of the test file if there is one."""
    yield from frames(train, None)
    if test is not None:
        yield from frames(test, "test")


def frames(path: Path, split: str | None) -> Iterator[Frame]:
    """The frames of one file as a stream, with one frame at a time in memory. Raises DataError."""
    index = 0
    try:
        with open_text(path) as lines:
            for header in lines:
                if not header.strip():
                    continue
                count = int(header)
                comment, *atoms = islice(lines, count + 1)
                frame = parse(comment, atoms, count, f"{path.name} frame {index}", split)
                index += 1
                if frame is not None:
                    yield frame
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, KeyError, IndexError) as error:
        reason = str(error) or type(error).__name__
        raise DataError(
            f"{path} cannot be read after {index} frames ({reason})", "remove it and download it again"
        ) from error


@contextmanager
def open_text(path: Path) -> Iterator[Iterable[str]]:
    """The lines of a text file, or of the text file in an archive, which is not unpacked to disk."""
    if ".tar" in path.suffixes or path.suffix == ".tgz":
        with tarfile.open(path) as archive:
            member = next((entry for entry in archive if entry.isfile() and entry.name.endswith(TEXT)), None)
            content = archive.extractfile(member) if member else None
            if content is None:
                raise ValueError("there is no .xyz file in it")
            yield io.TextIOWrapper(content, encoding="utf-8")
    elif path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield lines
    else:
        with path.open(encoding="utf-8") as lines:
            yield lines


def parse(comment: str, atoms: list[str], count: int, source: str, split: str | None) -> Frame | None:
    """The frame of a comment line and the lines of its atoms; None for an isolated atom."""
    if len(atoms) != count:
        raise ValueError(f"{source} has only {len(atoms)} of its {count} atoms")
    info: dict[str, Any] = key_val_str_to_dict(comment)
    if info.get("config_type") == ISOLATED:
        return None
    columns = layout(info.pop("Properties"))
    table = np.array([line.split() for line in atoms])
    numbers = np.array([atomic_numbers[symbol] for symbol in table[:, columns["species"]].ravel()])
    smiles = str(info.get("smiles") or "")
    return Frame(
        numbers=numbers,
        positions=table[:, columns["pos"]].astype(float),
        energy=float(first(info, ENERGIES, "energy", source)),
        forces=table[:, first(columns, FORCES, "forces", source)].astype(float),
        group=smiles or str(Formula.from_list([line.split(maxsplit=1)[0] for line in atoms]).format("hill")),
        split=split,
        source=source,
        info={key: value for key, value in info.items() if isinstance(value, str | int | float)},
    )


def layout(properties: str) -> dict[str, slice]:
    """The columns of each property, from a specification such as `species:S:1:pos:R:3:…`."""
    columns: dict[str, slice] = {}
    words, start = properties.split(":"), 0
    for name, width in zip(words[::3], words[2::3], strict=True):
        columns[name] = slice(start, start + int(width))
        start += int(width)
    return columns


def first(entries: dict[str, Any], names: tuple[str, ...], label: str, source: str) -> Any:
    """The first entry that exists under one of the names. Raises DataError if there is none."""
    for name in names:
        if name in entries:
            return entries[name]
    raise DataError(
        f"{source} has no {label} under any of {', '.join(names)} (it has {', '.join(entries)})",
        "read it with data=extxyz and the right data.energy_key and data.forces_key",
    )
