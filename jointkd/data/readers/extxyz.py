"""Files in extended XYZ and all other formats that ASE reads, with explicit keys and units."""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from jointkd.data.readers import stated_units
from jointkd.data.readers.formats import structures
from jointkd.data.readers.paths import files
from jointkd.data.readers.stress import StressForm
from jointkd.data.readers.units import ENERGY, LENGTH, factor
from jointkd.errors import DataError
from jointkd.structures.frame import Frame

log = logging.getLogger(__name__)

ISOLATED = "IsolatedAtom"
SAME_ATOM = 1e-4  # eV; energies of an isolated atom that differ by less agree
FREE_ENERGY = "free_energy"  # as ASE calls it in the results of a calculator
FILE = "file"  # the entry that holds the name of a frame's file, beside the entries of the file itself


def read(
    path: str | None,
    energy_key: str | None = "energy",
    forces_key: str | None = "forces",
    units: dict[str, str] | None = None,
    group_key: str | None = None,
    split_key: str | None = None,
    format: str | None = None,
    option: str = "data.path",
    labels_required: bool = True,
    stress: StressForm | None = None,
) -> tuple[Iterator[Frame], dict[int, float]]:
    """Frames of a file, a folder, or the files that match a pattern (see `paths.files`), and free-atom energies (eV by
    atomic number), which are complete when all frames have been read.

    Keys name entries of a frame's properties; None means that the file has no such label. `group_key=file` groups by
    file. Forces are in energy / length of `units`. Isolated atoms are frames of one atom with
    `config_type=IsolatedAtom`. `Frame.info` has the other strings and single numbers of a frame; results and arrays
    that are not used are counted in the log. option: the name of `path` in messages; labels_required: whether all
    frames must have the labels that the keys name; stress: how the frames give stresses.
    Raises DataError for a missing or unreadable file, for frames without the labels that the keys name, for units that
    a file states otherwise, and for two energies of an isolated atom; ConfigError for an unknown unit; MissingExtra for
    a database format that needs another package.
    """
    if path is None:
        raise DataError(f"{option} is not set", f"give the file with your structures: {option}=FILE")
    names = {"energy": "eV", "length": "angstrom", **(units or {})}
    scale = (
        factor(names["energy"], ENERGY, "data.units.energy"),
        factor(names["length"], LENGTH, "data.units.length"),
    )
    sources = files(path, format, option)
    isolated: dict[int, float] = {}

    def frames() -> Iterator[Frame]:
        count = 0
        unused: Counter[str] = Counter()
        absent = {"data.group_key": group_key, "data.split_key": split_key}
        for file, name in sources:
            for index, (atoms, fault) in enumerate(structures(file, format)):
                source = f"{name} frame {index}"
                stated_units.check(atoms.info, names, (energy_key, forces_key), source)
                energy = value(atoms, energy_key, "energy", (), source, labels_required)
                if energy is not None and len(atoms) == 1 and atoms.info.get("config_type") == ISOLATED:
                    add_isolated(isolated, int(atoms.numbers[0]), float(energy) * scale[0], source)
                    continue
                forces = value(atoms, forces_key, "forces", (len(atoms), 3), source, labels_required)
                unused.update(unused_entries(atoms, energy_key, forces_key, stress.key if stress else None))
                asked = stress is not None and (labels_required or stress.there(atoms))
                tensor = stress.read(atoms, scale[1], source) if stress and asked else None
                atoms.info.setdefault(FILE, name)
                absent = {option: key for option, key in absent.items() if key and key not in atoms.info}
                frame = frame_of(atoms, energy, forces, scale, group_key, split_key, source)
                yield replace(frame, fault=fault, stress=tensor)
                count += 1
        if not count:
            raise DataError(
                f"{option}={path} contains no structures", "give a file with structures besides isolated atoms"
            )
        for name, key in absent.items():
            log.warning("%s=%s: no structure of %s=%s has an entry of that name", name, key, option, path)
        log_unused(f"{option}={path}", unused)

    return frames(), isolated


def read_splits(
    train: str, val: str | None, test: str, *arguments: Any, **options: Any
) -> tuple[Iterator[Frame], dict[int, float]]:
    """The frames of a file, folder or pattern for each split, to which they are assigned; see `read`.

    val None: none are assigned to validation. Raises DataError as well for two energies of an isolated atom.
    """
    isolated: dict[int, float] = {}

    def frames() -> Iterator[Frame]:
        for split, path in (("train", train), ("val", val), ("test", test)):
            if path is not None:
                found, alone = read(path, *arguments, **options)
                yield from (replace(frame, split=split) for frame in found)
                for element, energy in alone.items():
                    add_isolated(isolated, element, energy, path)

    return frames(), isolated


def add_isolated(isolated: dict[int, float], element: int, energy: float, source: str) -> None:
    """Add the energy (eV) of an isolated atom. Raises DataError if it is not finite or differs from an earlier one."""
    if not math.isfinite(energy):
        raise DataError(
            f"the isolated atom in {source} has the energy {energy}, which must be finite", "remove that frame"
        )
    if abs(isolated.setdefault(element, energy) - energy) > SAME_ATOM:
        raise DataError(
            f"the isolated atom {chemical_symbols[element]} has two energies, {isolated[element]:.6g} and {energy:.6g} "
            f"eV ({source})",
            "leave one frame of it in the file",
        )


def log_unused(place: str, unused: Counter[str]) -> None:
    """Log what the structures have that is not used, with the number of structures that have it."""
    if unused:
        listing = ", ".join(f"{name} ({number:,})" for name, number in unused.most_common())
        log.info("%s: not used, with the number of structures that have them: %s", place, listing)
    if FREE_ENERGY in unused:
        log.warning(
            "%s: where occupations are smeared, forces are derivatives of the free energy; "
            "data.energy_key=%s learns that instead",
            place,
            FREE_ENERGY,
        )


def unused_entries(atoms: Atoms, energy_key: str | None, forces_key: str | None, stress_key: str | None) -> set[str]:
    """The results, arrays and constraints of a structure that become no part of a frame."""
    results = atoms.calc.results if atoms.calc is not None else {}
    constraints = {"constraints"} if atoms.constraints else set()
    used = {"numbers", "positions", energy_key, forces_key, stress_key}
    if abs(results.get(FREE_ENERGY, 0.0) - results.get(energy_key, math.inf)) < SAME_ATOM:
        used.add(FREE_ENERGY)
    return {*atoms.arrays, *results, *constraints} - used


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


def likely_key(label: str, names: list[str]) -> str | None:
    """The one entry that is named like `energy` or `forces`, in capitals, with a prefix or in the singular."""
    stem = label.removesuffix("s")
    found = [name for name in names if stem in name.lower()]
    return found[0] if len(found) == 1 else None


def has_shape(entry: Any, shape: tuple[int, ...]) -> bool:
    """Whether an entry holds numbers of a shape."""
    return np.shape(entry) == shape and np.asarray(entry).dtype.kind in "fi"


def value(
    atoms: Atoms, key: str | None, label: str, shape: tuple[int, ...], source: str, required: bool = True
) -> np.ndarray | None:
    """The label stored under `key` as a result, an info entry or an array. Raises DataError if it is missing."""
    if key is None:
        return None
    results = atoms.calc.results if atoms.calc is not None else {}
    entries = {**atoms.arrays, **atoms.info, **results}
    without = (
        "data.reference=teacher if there are no labels, data.missing=teacher if some structures have none"
        if required
        else "to null, so that it is not read"
    )
    remedy = f"set data.{label}_key to the right name, or {without}"
    if key not in entries:
        if not required:
            return None
        others = sorted(entries.keys() - {"numbers", "positions"})
        if meant := likely_key(label, [name for name in others if has_shape(entries[name], shape)]):
            remedy = f"set data.{label}_key={meant} if that is what they are, or {without}"
        present = ", ".join(others) or "nothing"
        raise DataError(f"{source} has no {label} under data.{label}_key={key} (it has {present})", remedy)
    try:
        if np.iscomplexobj(entries[key]):
            raise TypeError("it is complex")
        return np.asarray(entries[key], dtype=float).reshape(shape)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{source} must have {label} of shape {list(shape)} under data.{label}_key={key}, not {entries[key]!r}",
            remedy,
        ) from error
