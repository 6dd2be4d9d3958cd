"""Files in extended XYZ and all other formats that ASE reads, with explicit keys and units."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms

from jointkd.data.readers.paths import files, structures
from jointkd.data.readers.units import ENERGY, LENGTH, factor
from jointkd.errors import DataError
from jointkd.structures.frame import Frame

ISOLATED = "IsolatedAtom"
FILE = "file"  # the entry that holds the name of a frame's file, beside the entries of the file itself


def read(
    path: str | None,
    energy_key: str | None = "energy",
    forces_key: str | None = "forces",
    units: dict[str, str] | None = None,
    group_key: str | None = None,
    split_key: str | None = None,
    format: str | None = None,
) -> tuple[Iterator[Frame], dict[int, float]]:
    """Frames of a file, a folder, or the files that match a pattern (see `paths.files`), and free-atom energies (eV by
    atomic number), which are complete when all frames have been read.

    Keys name entries of a frame's properties; None means that the file has no such label. `group_key=file` groups by
    file. Forces are in energy / length of `units`. Isolated atoms are frames of one atom with
    `config_type=IsolatedAtom`. `Frame.info` has the other strings and single numbers of a frame.
    Raises DataError for a missing or unreadable file and for frames without the labels that the keys name; ConfigError
    for an unknown unit; MissingExtra for a database format that needs another package.
    """
    if path is None:
        raise DataError("data.path is not set", "give the file with your structures: data.path=FILE")
    names = {"energy": "eV", "length": "angstrom", **(units or {})}
    scale = (
        factor(names["energy"], ENERGY, "data.units.energy"),
        factor(names["length"], LENGTH, "data.units.length"),
    )
    sources = files(path, format)
    isolated: dict[int, float] = {}

    def frames() -> Iterator[Frame]:
        count = 0
        for file, name in sources:
            for index, atoms in enumerate(structures(file, format)):
                source = f"{name} frame {index}"
                energy = value(atoms, energy_key, "energy", (), source)
                if energy is not None and len(atoms) == 1 and atoms.info.get("config_type") == ISOLATED:
                    isolated[int(atoms.numbers[0])] = float(energy) * scale[0]
                    continue
                forces = value(atoms, forces_key, "forces", (len(atoms), 3), source)
                atoms.info.setdefault(FILE, name)
                yield frame_of(atoms, energy, forces, scale, group_key, split_key, source)
                count += 1
        if not count:
            raise DataError(f"data.path={path} contains no structures", "give a file with at least three structures")

    return frames(), isolated


def frame_of(
    atoms: Atoms,
    energy: np.ndarray | None,
    forces: np.ndarray | None,
    scale: tuple[float, float],
    group_key: str | None,
    split_key: str | None,
    source: str,
) -> Frame:
    """A frame in eV and Å. scale: the file's units of energy in eV and of length in Å."""
    info: dict[str, Any] = atoms.info
    return Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions * scale[1],
        cell=atoms.cell.array * scale[1],
        pbc=np.array(atoms.pbc),
        energy=None if energy is None else float(energy) * scale[0],
        forces=None if forces is None else forces * (scale[0] / scale[1]),
        group=str(info[group_key]) if group_key and group_key in info else "",
        split=str(info[split_key]) if split_key and split_key in info else None,
        source=source,
        info={key: plain for key, entry in info.items() if isinstance(plain := as_plain(entry), str | int | float)},
    )


def as_plain(entry: Any) -> Any:
    """numpy's numbers as Python's."""
    return entry.item() if isinstance(entry, np.generic) else entry


def value(atoms: Atoms, key: str | None, label: str, shape: tuple[int, ...], source: str) -> np.ndarray | None:
    """The label stored under `key` as a result, an info entry or an array. Raises DataError if it is missing."""
    if key is None:
        return None
    results = atoms.calc.results if atoms.calc is not None else {}
    entries = {**atoms.arrays, **atoms.info, **results}
    remedy = f"set data.{label}_key to the right name, or data.reference=teacher if there are no labels"
    if key not in entries:
        present = ", ".join(sorted(entries.keys() - {"numbers", "positions"})) or "nothing"
        raise DataError(f"{source} has no {label} under data.{label}_key={key} (it has {present})", remedy)
    try:
        return np.asarray(entries[key], dtype=float).reshape(shape)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{source} must have {label} of shape {list(shape)} under data.{label}_key={key}, not {entries[key]!r}",
            remedy,
        ) from error
