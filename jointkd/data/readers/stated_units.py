"""Units that a file states itself, compared with those of the options."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jointkd.errors import DataError

UNITS: dict[str, tuple[str | None, str | None]] = {  # of energy and length, by what files call them in lower case
    "ev": ("eV", None),
    "electronvolt": ("eV", None),
    "mev": ("meV", None),
    "hartree": ("hartree", None),
    "ha": ("hartree", None),
    "eh": ("hartree", None),
    "kcal": ("kcal/mol", None),
    "kcal/mol": ("kcal/mol", None),
    "kj": ("kJ/mol", None),
    "kj/mol": ("kJ/mol", None),
    "angstrom": (None, "angstrom"),
    "ang": (None, "angstrom"),
    "a": (None, "angstrom"),
    "å": (None, "angstrom"),
    "bohr": (None, "bohr"),
    "a0": (None, "bohr"),
    "nm": (None, "nm"),
    "nanometer": (None, "nm"),
    "au": ("hartree", "bohr"),
    "a.u.": ("hartree", "bohr"),
    "atomic": ("hartree", "bohr"),
    "metal": ("eV", "angstrom"),  # styles of LAMMPS
    "real": ("kcal/mol", "angstrom"),
    "electron": ("hartree", "bohr"),
}
ENERGY = {"energy", "energies"}
LENGTH = {"length", "lengths", "distance", "position", "positions", "pos", "coordinates", "conformations", "lattice"}
BOTH = {"", "force", "forces"}  # `units=metal`, or the unit of forces


def check(info: Mapping[str, Any], units: Mapping[str, str], keys: tuple[str | None, str | None], source: str) -> None:
    """Raise DataError where an entry such as `energy_unit=hartree` contradicts the options.

    units: `energy` and `length` of the options; keys: the names of the file's energies and forces.
    """
    for name, text in info.items():
        for quantity, stated in statements(name, text, keys):
            if stated != units[quantity]:
                raise DataError(
                    f"{source} states {name}={text}, and data.units.{quantity}={units[quantity]}",
                    f"set data.units.{quantity}={stated}, or correct what the file states",
                )


def statements(name: str, text: Any, keys: tuple[str | None, str | None]) -> Iterator[tuple[str, str]]:
    """The quantities (`energy`, `length`) whose unit an entry of a frame states, each with the unit."""
    if "unit" not in name.lower() or not isinstance(text, str):
        return
    subject = re.sub(r"units?", "", name.lower()).strip("_-. :")
    energy_key, forces_key = (str(key).lower() for key in keys)
    of_energy = subject in ENERGY | BOTH | {energy_key, forces_key}
    of_length = subject in LENGTH | BOTH | {forces_key}
    for word in re.split(r"[,;*\s()]+|/(?!mol)", text.lower()):
        energy, length = UNITS.get(word, (None, None))
        if energy and of_energy:
            yield "energy", energy
        if length and of_length:
            yield "length", length
