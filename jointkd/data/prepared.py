"""Prepared sets: what was read, chosen and found sound, as memory-mapped arrays that open at once.

    outputs/data/<name>-<hash>/
      manifest.json            counts, elements, free atoms, what was set aside, and what it was made from
      numbers, positions, forces       of all atoms, one structure after the other
      cells, pbc, energies, keys       of all structures
      first_atom, first_character      where a structure's atoms and text begin
      text                             [group, split, source, info] of each structure as JSON
      quarantine.xyz           what was set aside, with the reasons
      neighbors-<cutoff>/      pairs of atoms within a cutoff (see pairs.py)

The hash is of all that decides the content (see origin.py). So a set is never changed, and what is there can be used.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, overload

import numpy as np

from jointkd.data.provenance import Reader, SubsetRule, check_agrees, tell_of_others
from jointkd.data.screening import Rejected, quarantine, screen
from jointkd.errors import DataError
from jointkd.files.arrays import MANIFEST, Writer, make_once, open_array, read_manifest
from jointkd.structures.frame import Frame

FORMAT = 1
QUARANTINE = "quarantine.xyz"
BY_ATOM: dict[str, tuple[Any, tuple[int, ...]]] = {
    "numbers": ("<i8", ()),
    "positions": ("<f8", (3,)),
    "forces": ("<f8", (3,)),
}
BY_STRUCTURE: dict[str, tuple[Any, tuple[int, ...]]] = {
    "cells": ("<f8", (3, 3)),
    "pbc": ("?", (3,)),
    "energies": ("<f8", ()),
    "keys": ("S32", ()),
}
OFFSETS: dict[str, tuple[Any, tuple[int, ...]]] = {"first_atom": ("<i8", ()), "first_character": ("<i8", ())}
TEXT: dict[str, tuple[Any, tuple[int, ...]]] = {"text": ("u1", ())}


class PreparedSet:
    """A prepared set on disk. `PreparedSet(path)` opens one. Raises DataError for one that is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = read_manifest(path, FORMAT)
        count, atoms = self.manifest["structures"], self.manifest["atoms"]
        rows = {
            **dict.fromkeys(BY_ATOM, atoms),
            **dict.fromkeys(BY_STRUCTURE, count),
            **dict.fromkeys(OFFSETS, count + 1),
        }
        self.arrays = {name: open_array(path, name, length) for name, length in rows.items()}
        self.arrays["text"] = open_array(path, "text", self.manifest["characters"])
        self.keys: list[str] = self.arrays["keys"].astype("U32").tolist()
        self._first = self.arrays["first_atom"].tolist()
        self._index: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedSet, (self.path,)

    def __getitem__(self, number: int) -> Frame:
        """The frame of that number; its arrays are views of the files."""
        arrays = self.arrays
        atoms = slice(self._first[number], self._first[number + 1])
        energy, forces = float(arrays["energies"][number]), arrays["forces"][atoms]
        text = arrays["text"][slice(*arrays["first_character"][number : number + 2])]
        group, split, source, info = json.loads(text.tobytes())
        frame = Frame(
            numbers=arrays["numbers"][atoms],
            positions=arrays["positions"][atoms],
            cell=arrays["cells"][number],
            pbc=arrays["pbc"][number],
            energy=None if math.isnan(energy) else energy,
            forces=None if len(forces) and math.isnan(forces[0, 0]) else forces,
            group=group,
            split=split,
            source=source,
            info=info,
        )
        return frame.with_key(self.keys[number])

    @property
    def frames(self) -> "Frames":
        return Frames(self, np.arange(len(self)))

    @property
    def free_atom_energies(self) -> dict[int, float]:
        """eV by atomic number, of the elements for which the source gives one."""
        return {int(z): energy for z, energy in self.manifest["free_atom_energies"].items()}

    def number_of(self, key: str) -> int:
        """Where the structure with that content key is."""
        if not self._index:
            self._index = {key: number for number, key in enumerate(self.keys)}
        return self._index[key]


class Frames(Sequence[Frame]):
    """Some frames of a prepared set, each made when it is asked for."""

    def __init__(self, source: PreparedSet, numbers: np.ndarray) -> None:
        self.source, self.numbers = source, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> Frame: ...
    @overload
    def __getitem__(self, at: slice) -> "Frames": ...
    def __getitem__(self, at: int | slice) -> "Frame | Frames":
        if isinstance(at, slice):
            return Frames(self.source, self.numbers[at])
        return self.source[int(self.numbers[at])]

    def at(self, numbers: Sequence[int]) -> "Frames":
        """Those of the given places."""
        return Frames(self.source, self.numbers[np.asarray(numbers, dtype=np.int64)])


def prepare(
    parent: Path, name: str, read: Reader, subset: SubsetRule | None, max_force: float, origin: dict[str, Any]
) -> PreparedSet:
    """The prepared set of a source, made if it is not in `parent`; a `parent` that is a prepared set is taken itself.

    origin: what decides the content, see `origin_of`. Raises ConfigError where that set was made with other options,
    DataError where nothing is left, and what reader and checks raise.
    """
    if (parent / MANIFEST).exists():
        given = PreparedSet(parent)
        check_agrees(parent, given.manifest["of"], origin)
        return given
    digest = hashlib.sha256(json.dumps([FORMAT, origin], sort_keys=True).encode()).hexdigest()[:10]
    path = parent / f"{name}-{digest}"
    if not (path / MANIFEST).exists():
        tell_of_others(path, origin)

    def make(folder: Path) -> dict[str, Any]:
        frames, free_atoms = read()
        chosen = frames if subset is None else subset(frames)
        rejected: list[Rejected] = []
        counts = write(screen(chosen, max_force, rejected), folder)
        if not counts["structures"]:
            raise DataError(f"no structure of data={name} is left", "look at data.subset and at what was read")
        quarantine(rejected, folder / QUARANTINE)
        reasons = dict(Counter(entry.reason for entry in rejected).most_common())
        free = {str(z): energy for z, energy in free_atoms.items()}
        about = {"jointkd": version("jointkd"), "made": datetime.now(UTC).isoformat(timespec="seconds"), "of": origin}
        return {"format": FORMAT, "name": name, **counts, "free_atom_energies": free, "set_aside": reasons, **about}

    make_once(path, make, "data.prepared")
    return PreparedSet(path)


def write(frames: Iterable[Frame], folder: Path) -> dict[str, Any]:
    """Write frames one by one; how many structures, atoms and characters they are, and of which elements."""
    writer = Writer(folder, {**BY_ATOM, **BY_STRUCTURE, **OFFSETS, **TEXT})
    elements: set[int] = set()
    try:
        for name in OFFSETS:
            writer.append(name, 0)
        for frame in frames:
            count = len(frame)
            text = json.dumps([frame.group, frame.split, frame.source, dict(frame.info)], default=plain).encode()
            writer.append("numbers", frame.numbers)
            writer.append("positions", frame.positions)
            writer.append("forces", np.full((count, 3), np.nan) if frame.forces is None else frame.forces)
            writer.append("cells", frame.cell)
            writer.append("pbc", frame.pbc)
            writer.append("energies", np.nan if frame.energy is None else frame.energy)
            writer.append("keys", frame.key.encode())
            writer.append("text", np.frombuffer(text, dtype="u1"))
            writer.append("first_atom", writer.rows["numbers"])
            writer.append("first_character", writer.rows["text"])
            elements |= set(frame.numbers.tolist())
        writer.finish()
    finally:
        writer.close()
    rows = writer.rows
    return {
        "structures": rows["keys"],
        "atoms": rows["numbers"],
        "characters": rows["text"],
        "elements": sorted(elements),
    }


def plain(value: Any) -> Any:
    """What JSON does not know, as numpy's numbers and arrays, as what it does."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
