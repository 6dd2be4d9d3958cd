"""Files of LAMMPS, which have numbered atom types: no elements and energies are made up for them."""

from collections.abc import Iterator
from pathlib import Path

from ase import Atoms

from jointkd.data.readers.text_files import open_text
from jointkd.errors import DataError

FORMATS = ("lammps-dump-text", "lammps-dump-binary", "lammps-data")
NAMED = ("element", "mass")  # columns of a dump that tell the elements
COLUMNS = "ITEM: ATOMS"
UNITS = "ITEM: UNITS"
SECTIONS = ("Masses", "Atom Type Labels")  # of a data file, likewise


def checked(file: Path, format: str, structures: Iterator[Atoms]) -> Iterator[Atoms]:
    """The structures of a file of LAMMPS, with its units in `Atoms.info`, and without the energy of zero that ASE adds.

    Raises DataError for a file that numbers its atom types and does not say which elements they are.
    """
    check_elements(file, format)
    units = units_of(file) if format == "lammps-dump-text" else None
    for atoms in structures:
        if atoms.calc is not None:
            atoms.calc.results.pop("energy", None)
        if units is not None:
            atoms.info["units"] = units
        yield atoms


def check_elements(file: Path, format: str) -> None:
    """Raise DataError for a file whose atom types are numbers, where ASE would take them for atomic numbers."""
    if format != "lammps-dump-binary" and tells_elements(file, format):
        return
    remedy = (
        "write it with the column element (dump_modify element …)"
        if format.startswith("lammps-dump")
        else "add the section Masses"
    )
    raise DataError(f"{file} has atom types of LAMMPS and does not say which elements they are", remedy)


def tells_elements(file: Path, format: str) -> bool:
    """Whether a dump has a column, or a data file a section, that tells the elements."""
    with open_text(file, errors="replace") as lines:
        for line in lines:
            if format == "lammps-dump-text" and line.startswith(COLUMNS):
                return any(name in line.split() for name in NAMED)
            if format == "lammps-data" and line.strip().startswith(SECTIONS):
                return True
    return False


def units_of(file: Path) -> str | None:
    """The units that a dump states, such as `metal`, None where it does not."""
    with open_text(file, errors="replace") as lines:
        for line in lines:
            if line.startswith(UNITS):
                return next(lines, "").strip() or None
            if line.startswith(COLUMNS):
                return None
    return None
