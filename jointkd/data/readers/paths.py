"""Which files a path stands for, and the structures that ASE finds in each."""

import gzip
import io
import logging
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.db import connect
from ase.io import iread
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from jointkd.data.readers import spice
from jointkd.errors import DataError, MissingExtra, first_line

log = logging.getLogger(__name__)

DATABASES = (".db", ".aselmdb")  # ASE's own, with SQLite and with LMDB
HDF5 = (".hdf5", ".h5")  # like SPICE's
VASP_OUTPUTS = ("vasprun.xml", "OUTCAR")  # of one calculation, in the order of preference
VASP_OTHERS = {"POSCAR", "CONTCAR", "XDATCAR", "CHGCAR", "CHG", "LOCPOT", "INCAR", "KPOINTS", "POTCAR", "OSZICAR"}


def files(path: str, format: str | None) -> list[tuple[Path, str]]:
    """The files that `path` stands for, each with a name for messages: a file, those of a folder and its subfolders
    that ASE reads, or those that fit a pattern with `*`.

    Of a VASP calculation only vasprun.xml is taken, or OUTCAR where that is not there. Raises DataError for nothing,
    and for the working directory or one above, where outputs are.
    """
    start = Path(path).expanduser()
    if start.is_file():
        return [(start, start.name)]
    if not start.is_dir():
        found = [Path(name) for name in sorted(glob(str(start), recursive=True)) if Path(name).is_file()]
        if not found:
            wrong = "is neither a file nor a folder" if start.exists() else "does not exist"
            raise DataError(f"data.path={path} {wrong}", "check the path (relative ones start where you are)")
        return [(file, str(file)) for file in found]
    if Path.cwd().is_relative_to(start.resolve()):
        raise DataError(
            f"data.path={path} is a folder that outputs are written into, which would be read as structures",
            "give a folder of structures alone, or a pattern such as 'data.path=*.xyz'",
        )
    everything = sorted(file for file in start.rglob("*") if file.is_file() and not file.name.startswith("."))
    taken = [file for file in everything if not superseded(file) and (format or readable(file))]
    if not taken:
        raise DataError(f"data.path={path} is a folder of {len(everything)} files, and ASE reads none of them", FORMAT)
    left = [file.name for file in everything if file not in set(taken)]
    if left:
        shown = ", ".join(sorted(set(left))[:5])
        log.warning("data.path=%s: left out %d files that hold no structures to read (%s)", path, len(left), shown)
    return [(file, str(file.relative_to(start))) for file in taken]


FORMAT = "set data.format to what they are"


def superseded(file: Path) -> bool:
    """Whether another file of the same VASP calculation says more."""
    better = VASP_OUTPUTS[: VASP_OUTPUTS.index(file.name)] if file.name in VASP_OUTPUTS else VASP_OUTPUTS
    return file.name in {*VASP_OUTPUTS, *VASP_OTHERS} and any((file.parent / name).exists() for name in better)


def readable(file: Path) -> bool:
    """Whether ASE has a reader for a file of this name and beginning."""
    if file.suffix in (*DATABASES, *HDF5):
        return True
    name = file.with_suffix("").name if file.suffix == ".gz" else str(file)
    try:
        known = ioformats.get(filetype(name, read=file.suffix != ".gz"))  # ASE guesses a format that it may not know
    except (UnknownFileTypeError, OSError, UnicodeDecodeError):
        return False
    return known is not None and bool(known.can_read)


def structures(file: Path, format: str | None) -> Iterator[Atoms]:
    """The structures of one file one by one. Raises DataError where ASE cannot read on, and MissingExtra."""
    number = 0
    try:
        for atoms in opened(file, format):
            yield atoms
            number += 1
    except MissingExtra:
        raise
    except Exception as error:
        refused = isinstance(error, OSError) and error.errno  # by the operating system, not by a parser
        remedy = "see that you may read it, and copy it anew" if refused else "repair it or set data.format"
        raise DataError(f"{file} cannot be read after {number} frames ({first_line(error)})", remedy) from error


def opened(file: Path, format: str | None) -> Iterator[Atoms]:
    if format is None and file.suffix in DATABASES:
        return stored(file)
    if format is None and file.suffix in HDF5:
        return spice.structures(file)
    return parsed(file, format)


def parsed(file: Path, format: str | None) -> Iterator[Atoms]:
    source: Any = file
    if file.suffix == ".gz":  # ASE seeks back and forth, which gzip makes quadratic
        source = io.StringIO(gzip.decompress(file.read_bytes()).decode())
        format = format or filetype(file.with_suffix("").name, read=False)
    yield from iread(source, index=":", format=format)


def stored(file: Path) -> Iterator[Atoms]:
    """The rows of an ASE database; their keys and values are in `Atoms.info`."""
    try:
        database = connect(file, type=file.suffix[1:], **({"readonly": True} if file.suffix == ".aselmdb" else {}))
    except ImportError as error:
        raise MissingExtra(
            f"{file} needs the package ase-db-backends", "install it with pip install 'jointkd[aselmdb]'"
        ) from error
    with database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            atoms.info.update(row.data)
            yield atoms
