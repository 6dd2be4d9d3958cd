"""Stresses and virials of files, whose sign and order differ between programs, in eV/Å³ and positive under tension."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units

from jointkd.data.readers.units import ENERGY, factor
from jointkd.errors import ConfigError, DataError, did_you_mean

PRESSURE = {"eV/angstrom^3": 1.0, "GPa": units.GPa, "kbar": 0.1 * units.GPa, "bar": 1e-4 * units.GPa}
KINDS = ("stress", "virial")
SIGNS = {"tension": 1.0, "compression": -1.0}
COMPONENTS = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}
SAME = {"zy": "yz", "zx": "xz", "yx": "xy"}
ASYMMETRY = 1e-2  # of the largest component; stresses are symmetric but for rounding
SIX = "[xx,yy,zz,yz,xz,xy]"


@dataclass(frozen=True)
class StressForm:
    """How a file gives stresses. Raises ConfigError for what it does not say.

    key: the entry of a frame; kind: `stress`, or `virial`, which is the stress times the volume; positive: under
    `tension` (as in ASE) or `compression` (as in VASP, and usual for virials); order: of the six values, None for files
    with all nine; unit: of `PRESSURE`, or the file's unit of energy for a virial.
    """

    key: str
    kind: str
    positive: str
    order: tuple[str, ...] | None
    unit: str

    def __post_init__(self) -> None:
        for option, value, known in (("kind", self.kind, KINDS), ("positive", self.positive, tuple(SIGNS))):
            if value not in known:
                hint = did_you_mean(str(value), known) if value is not None else ""
                raise ConfigError(
                    f"data.stress.{option}={'null' if value is None else value} does not say what data.stress_key="
                    f"{self.key} holds",
                    f"{hint}choose {' or '.join(known)}; ASE's stresses are positive under tension, VASP's in "
                    "compression, and so are most virials",
                )
        if self.order is not None and sorted(SAME.get(name, name) for name in self.order) != sorted(COMPONENTS):
            raise ConfigError(
                f"data.stress.order={list(self.order)} must name six components",
                f"give them as {SIX} (ASE) or [xx,yy,zz,xy,yz,zx] (VASP)",
            )
        factor(self.unit, ENERGY if self.kind == "virial" else PRESSURE, "data.units.stress")

    @classmethod
    def of(cls, key: str, options: Mapping[str, Any], energy_unit: str) -> "StressForm":
        """The form that the options `data.stress` describe. energy_unit: of the file's energies, for a virial."""
        order = options.get("order")
        if isinstance(order, str):
            raise ConfigError(f"data.stress.order={order} must be a list", f"give, for example, {SIX}")
        unit = energy_unit if options.get("kind") == "virial" else options.get("unit", "eV/angstrom^3")
        return cls(key, options.get("kind"), options.get("positive"), tuple(order) if order else None, unit)  # type: ignore[arg-type]

    def read(self, atoms: Atoms, length: float, source: str) -> np.ndarray:
        """[3, 3] eV/Å³ the stress of a frame, positive under tension. Raises DataError where there is none.

        length: Å, the unit of the cell; source: the frame, for messages.
        """
        if not (atoms.pbc.all() and atoms.cell.rank == 3):
            raise DataError(
                f"{source} is not periodic along three vectors and has no stress", "leave out such structures"
            )
        tensor = SIGNS[self.positive] * self._tensor(self._entry(atoms, source), source)
        if self.kind == "virial":
            return tensor * ENERGY[self.unit] / (atoms.get_volume() * length**3)
        return tensor * PRESSURE[self.unit]

    def there(self, atoms: Atoms) -> bool:
        """Whether a frame has a stress."""
        return self.key in entries_of(atoms)

    def _entry(self, atoms: Atoms, source: str) -> Any:
        entries = entries_of(atoms)
        if self.key not in entries:
            present = ", ".join(sorted(entries)) or "nothing"
            raise DataError(
                f"{source} has no stress under data.stress_key={self.key} (it has {present})",
                "set data.stress_key to the right name, leave out such structures, or learn without stresses",
            )
        return entries[self.key]

    def _tensor(self, entry: Any, source: str) -> np.ndarray:
        """[3, 3] the components as the file has them. Raises DataError."""
        place = f"{source}: the stress under data.stress_key={self.key}"
        try:
            values = np.asarray(entry, dtype=float).ravel()
        except (TypeError, ValueError) as error:
            raise DataError(f"{place} must be numbers, not {entry!r}", "correct the file") from error
        if not np.isfinite(values).all() or len(values) not in (6, 9):
            raise DataError(f"{place} must be six or nine finite numbers, not {entry!r}", "correct the file")
        if len(values) == 6:
            return self._from_six(values, place)
        tensor = values.reshape(3, 3)
        if np.abs(tensor - tensor.T).max() > ASYMMETRY * np.abs(tensor).max():
            raise DataError(f"{place} is not symmetric", "check that these are the nine components of a stress")
        return (tensor + tensor.T) / 2

    def _from_six(self, values: np.ndarray, place: str) -> np.ndarray:
        if self.order is None:
            raise DataError(
                f"{place} has six values, whose order data.stress.order must say",
                f"give {SIX} (ASE) or [xx,yy,zz,xy,yz,zx] (VASP)",
            )
        tensor = np.zeros((3, 3))
        for name, value in zip(self.order, values, strict=True):
            row, column = COMPONENTS[SAME.get(name, name)]
            tensor[row, column] = tensor[column, row] = value
        return tensor


def entries_of(atoms: Atoms) -> dict[str, Any]:
    """What a frame says of itself as a whole."""
    return {**atoms.info, **(atoms.calc.results if atoms.calc is not None else {})}
