"""The structures of one file, in any format that ASE reads, and what makes one of them unfit to learn from."""

import gzip
import importlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.db import connect
from ase.io import iread
from ase.io.formats import filetype

from jointkd.data.readers import lammps, lmdb_files, spice, vasp, xyz_blocks
from jointkd.errors import DataError, MissingExtra, UserError, first_line

DATABASES = (".db", ".aselmdb")  # of ASE, with SQLite and with LMDB
HDF5 = (".hdf5", ".h5")  # with SPICE's layout
XYZ = "extxyz"
CONVERGED = ("converged", "is_converged", "scf_converged", "electronic_converged")  # entries that may be false
NOT_CONVERGED = "the file says that its calculation did not converge"
SHARED_SITE = "a site is shared by several elements or partly occupied"


def structures(file: Path, format: str | None) -> Iterator[tuple[Atoms, str]]:
    """The structures of one file, one by one, each with the reason why it is unfit to learn from, empty if it is fit.

    Raises DataError where it cannot be read, and MissingExtra.
    """
    count = 0
    try:
        for index, (atoms, unconverged) in enumerate(open_structures(file, format)):
            yield atoms, vasp.UNCONVERGED if index in unconverged else fault_of(atoms)
            count += 1
    except UserError:
        raise
    except Exception as error:
        by_system = isinstance(error, OSError) and error.errno  # not an error of a parser
        remedy = "check its permissions, or copy it again" if by_system else "repair it or set data.format"
        raise DataError(f"{file} cannot be read after {count} frames ({first_line(error)})", remedy) from error


def open_structures(file: Path, format: str | None) -> Iterator[tuple[Atoms, set[int]]]:
    """The structures by the reader that the file's name or format asks for, and which of them have not converged."""
    nothing: set[int] = set()
    if format is None and file.suffix in DATABASES:
        yield from ((atoms, nothing) for atoms in read_database(file))
    elif format is None and file.suffix in HDF5:
        yield from ((atoms, nothing) for atoms in spice.structures(file))
    else:
        format = format or format_of(file)
        unconverged = vasp.unconverged_steps(file, format)
        if format == XYZ:
            reader = xyz_blocks.read(file)
        elif format in lammps.FORMATS:
            reader = lammps.checked(file, format, read_by_ase(file, format))
        else:
            reader = read_by_ase(file, format)
        yield from ((atoms, unconverged) for atoms in reader)


def format_of(file: Path) -> str:
    """ASE's name of a file's format, judged by its name and its first bytes. Raises UnknownFileTypeError."""
    packed = file.suffix == ".gz"
    return str(filetype(file.with_suffix("").name if packed else str(file.absolute()), read=not packed))


def read_by_ase(file: Path, format: str) -> Iterator[Atoms]:
    """The structures of a file in one of ASE's formats, plain or compressed; an @ in its name is part of the name."""
    source: Any = str(file.absolute())
    if file.suffix == ".gz":  # ASE seeks back and forth, which takes quadratic time in a gzip file
        source = io.StringIO(gzip.decompress(file.read_bytes()).decode())
    yield from iread(source, index=":", format=format, do_not_split_by_at_sign=True)


def read_database(file: Path) -> Iterator[Atoms]:
    """The structures of an ASE database, with the keys and values of their rows in `Atoms.info`."""
    by_lmdb = file.suffix == ".aselmdb"
    try:
        if by_lmdb:
            importlib.import_module("ase_db_backends.aselmdb")
            lmdb_files.check_whole(file)
        database = connect(file, type=file.suffix[1:], **({"readonly": True} if by_lmdb else {}))
    except ImportError as error:
        raise MissingExtra(
            f"{file} needs the package ase-db-backends", "install it with pip install 'jointkd[aselmdb]'"
        ) from error
    except ValueError as error:
        raise DataError(f"{file} cannot be read: {error}", "copy it again") from error
    with database:
        for row in database.select():
            atoms = row.toatoms()
            atoms.info.update(row.key_value_pairs)
            atoms.info.update(row.data)
            yield atoms


def fault_of(atoms: Atoms) -> str:
    """What the file itself says against a structure, empty if nothing."""
    if any(isinstance(atoms.info.get(name), bool | np.bool_) and not atoms.info[name] for name in CONVERGED):
        return NOT_CONVERGED
    return SHARED_SITE if shares_sites(atoms) else ""


def shares_sites(atoms: Atoms) -> bool:
    """Whether a site is partly occupied, by its `occupancy`: of each atom, or as ASE reads it from a CIF file."""
    sites = atoms.info.get("occupancy")
    if isinstance(sites, Mapping):
        return any(len(site) != 1 or min(site.values()) < 1 for site in sites.values() if isinstance(site, Mapping))
    occupancy = atoms.arrays.get("occupancy")
    return occupancy is not None and bool((np.asarray(occupancy, dtype=float) < 1).any())
