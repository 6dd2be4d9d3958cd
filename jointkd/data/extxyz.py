"""Anything that ASE reads, extended XYZ above all, with explicit keys and units."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import iread
from ase.io.formats import filetype

from jointkd.data.units import ENERGY, LENGTH, factor
from jointkd.errors import DataError
from jointkd.frame import Frame

ISOLATED = "IsolatedAtom"


def read(
    path: str | None,
    energy_key: str | None = "energy",
    forces_key: str | None = "forces",
    units: dict[str, str] | None = None,
    group_key: str | None = None,
    split_key: str | None = None,
    format: str | None = None,
) -> tuple[list[Frame], dict[int, float]]:
    """Frames of a file, and the energies of the isolated atoms in it (eV by atomic number).

    Keys name entries of a frame's properties; None says that the file holds no such label. Forces are in
    energy / length of `units`. Isolated atoms are frames of one atom with `config_type=IsolatedAtom`.
    Raises DataError for a missing file, for one that ASE cannot read, and for frames without the labels named;
    ConfigError for an unknown unit.
    """
    if path is None:
        raise DataError("data.path is not set", "give the file with your structures: data.path=FILE")
    file = Path(path).expanduser()
    if not file.exists():
        raise DataError(f"data.path={path} does not exist", "check the path (relative ones start where you are)")
    named = {"energy": "eV", "length": "angstrom", **(units or {})}
    energy_unit = factor(named["energy"], ENERGY, "data.units.energy")
    length_unit = factor(named["length"], LENGTH, "data.units.length")
    frames: list[Frame] = []
    isolated: dict[int, float] = {}
    for number, atoms in enumerate(parsed(file, format)):
        source = f"{file.name} frame {number}"
        energy = value(atoms, energy_key, "energy", (), source)
        if energy is not None and len(atoms) == 1 and atoms.info.get("config_type") == ISOLATED:
            isolated[int(atoms.numbers[0])] = float(energy) * energy_unit
            continue
        forces = value(atoms, forces_key, "forces", (len(atoms), 3), source)
        frames.append(
            Frame(
                numbers=atoms.numbers.astype(np.int64),
                positions=atoms.positions * length_unit,
                cell=atoms.cell.array * length_unit,
                pbc=np.array(atoms.pbc),
                energy=None if energy is None else float(energy) * energy_unit,
                forces=None if forces is None else forces * (energy_unit / length_unit),
                group=str(atoms.info[group_key]) if group_key and group_key in atoms.info else "",
                split=str(atoms.info[split_key]) if split_key and split_key in atoms.info else None,
                source=source,
            )
        )
    if not frames:
        raise DataError(f"data.path={path} holds no structures", "give a file with at least three of them")
    return frames, isolated


def parsed(file: Path, format: str | None) -> Any:
    """The frames of a file one by one. Raises DataError where ASE cannot read on."""
    number = 0
    try:
        source: Any = file
        if file.suffix == ".gz":  # ASE seeks back and forth, which gzip makes quadratic
            source = io.StringIO(gzip.decompress(file.read_bytes()).decode())
            format = format or filetype(file.with_suffix("").name, read=False)
        for atoms in iread(source, index=":", format=format):
            yield atoms
            number += 1
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{file} cannot be read after {number} frames ({reason})", "repair it or set data.format"
        ) from (error)


def value(atoms: Atoms, key: str | None, label: str, shape: tuple[int, ...], source: str) -> np.ndarray | None:
    """The label stored under `key`: a result, an info entry or an array. Raises DataError where there is none."""
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
        raise DataError(f"{source} has no {label} under data.{label}_key={key} but {entries[key]!r}", remedy) from error
