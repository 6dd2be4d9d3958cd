"""The files that `data.path` stands for, and the structures that ASE reads from each."""

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

DATABASES = (".db", ".aselmdb")  # of ASE, with SQLite and with LMDB
HDF5 = (".hdf5", ".h5")  # with SPICE's layout
VASP_OUTPUTS = ("vasprun.xml", "OUTCAR")  # of one calculation, in order of preference
VASP_OTHERS = {"POSCAR", "CONTCAR", "XDATCAR", "CHGCAR", "CHG", "LOCPOT", "INCAR", "KPOINTS", "POTCAR", "OSZICAR"}


def files(path: str, format: str | None) -> list[tuple[Path, str]]:
    """The files that `path` stands for, each with a name for messages.

    `path` is a file, a folder (all files in it and its subfolders that ASE reads), or a pattern with `*`. For a VASP
    calculation only vasprun.xml is read, or OUTCAR if there is none. Raises DataError if there are no such files, and
    for the working directory and its parents, because they contain the outputs of jointkd.
    """
    start = Path(path).expanduser()
    if start.is_file():
        return [(start, start.name)]
    if not start.is_dir():
        matches = [Path(name) for name in sorted(glob(str(start), recursive=True)) if Path(name).is_file()]
        if not matches:
            problem = "is neither a file nor a folder" if start.exists() else "does not exist"
            raise DataError(
                f"data.path={path} {problem}", "check the path (a relative path starts at the working directory)"
            )
        return [(file, str(file)) for file in matches]
    if Path.cwd().is_relative_to(start.resolve()):
        raise DataError(
            f"data.path={path} must not contain the working directory, whose outputs would be read as structures",
            "give a folder that contains structures only, or a pattern such as 'data.path=*.xyz'",
        )
    everything = sorted(file for file in start.rglob("*") if file.is_file() and not file.name.startswith("."))
    selected = [file for file in everything if not superseded(file) and (format or readable(file))]
    if not selected:
        raise DataError(
            f"data.path={path} is a folder of {len(everything)} files, none of which ASE can read",
            "set data.format to the format of the files",
        )
    left_out = [file.name for file in everything if file not in set(selected)]
    if left_out:
        names = ", ".join(sorted(set(left_out))[:5])
        log.warning("data.path=%s: left out %d files without readable structures (%s)", path, len(left_out), names)
    return [(file, str(file.relative_to(start))) for file in selected]


def superseded(file: Path) -> bool:
    """Whether another file of the same VASP calculation contains more information."""
    better = VASP_OUTPUTS[: VASP_OUTPUTS.index(file.name)] if file.name in VASP_OUTPUTS else VASP_OUTPUTS
    return file.name in {*VASP_OUTPUTS, *VASP_OTHERS} and any((file.parent / name).exists() for name in better)


def readable(file: Path) -> bool:
    """Whether ASE has a reader for the file, judged by its name and its first bytes."""
    if file.suffix in (*DATABASES, *HDF5):
        return True
    name = file.with_suffix("").name if file.suffix == ".gz" else str(file)
    try:
        known = ioformats.get(filetype(name, read=file.suffix != ".gz"))  # ASE may guess a format that it cannot read
    except (UnknownFileTypeError, OSError, UnicodeDecodeError):
        return False
    return known is not None and bool(known.can_read)


def structures(file: Path, format: str | None) -> Iterator[Atoms]:
    """The structures of one file, one by one. Raises DataError where ASE fails to read it, and MissingExtra."""
    count = 0
    try:
        for atoms in open_structures(file, format):
            yield atoms
            count += 1
    except MissingExtra:
        raise
    except Exception as error:
        by_system = isinstance(error, OSError) and error.errno  # not an error of a parser
        remedy = "check its permissions, or copy it again" if by_system else "repair it or set data.format"
        raise DataError(f"{file} cannot be read after {count} frames ({first_line(error)})", remedy) from error


def open_structures(file: Path, format: str | None) -> Iterator[Atoms]:
    """The structures of one file, by the reader that its name or format asks for."""
    if format is None and file.suffix in DATABASES:
        return read_database(file)
    if format is None and file.suffix in HDF5:
        return spice.structures(file)
    return read_text(file, format)


def read_text(file: Path, format: str | None) -> Iterator[Atoms]:
    """The structures of a file in one of ASE's formats, plain or compressed by gzip."""
    source: Any = file
    if file.suffix == ".gz":  # ASE seeks back and forth, which takes quadratic time in a gzip file
        source = io.StringIO(gzip.decompress(file.read_bytes()).decode())
        format = format or filetype(file.with_suffix("").name, read=False)
    yield from iread(source, index=":", format=format)


def read_database(file: Path) -> Iterator[Atoms]:
    """The structures of an ASE database, with the keys and values of their rows in `Atoms.info`."""
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
