"""Prepared sets: the structures that passed selection and screening, as memory-mapped arrays that open at once.

    outputs/data/<name>-<hash>/
      manifest.json                    counts, elements, free-atom energies, quarantine counts, and provenance
      numbers, positions, forces       of all atoms, one structure after the other
      cells, pbc, energies, keys       of all structures
      stresses                         of all structures, where they are learned
      first_atom, first_character      where the atoms and the text of each structure begin
      text                             [group, split, source, info] of each structure as JSON
      quarantine.xyz                   the structures that failed the screening, with the reasons
      neighbors-<cutoff>/              pairs of atoms within a cutoff (see stored_neighbors.py)

The hash is computed from everything that determines the content (see provenance.py). A set is therefore never modified,
and an existing one can be used as it is.
"""

import hashlib
import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np

from jointkd.data.energy_checks import check_energies
from jointkd.data.force_checks import check_forces
from jointkd.data.outliers import ABSURD, absurd_energies
from jointkd.data.provenance import Reader, SubsetRule, check_matches, warn_of_changed_sources
from jointkd.data.screening import Rejected, Screening, quarantine
from jointkd.errors import DataError
from jointkd.files.arrays import MANIFEST, Writer, make_once, open_array, read_manifest
from jointkd.structures.frame import Frame

FORMAT = 1
QUARANTINE = "quarantine.xyz"
UNCHECKED = "unchecked"  # the folder, in that of a set in the making, of what has passed frame by frame
ABSURD_ENERGY = f"the energy is more than {ABSURD:g} eV/atom from what the other structures suggest"
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
STRESSES: dict[str, tuple[Any, tuple[int, ...]]] = {"stresses": ("<f8", (3, 3))}  # where the first structure has one
OFFSETS: dict[str, tuple[Any, tuple[int, ...]]] = {"first_atom": ("<i8", ()), "first_character": ("<i8", ())}
TEXT: dict[str, tuple[Any, tuple[int, ...]]] = {"text": ("u1", ())}


class PreparedSet:
    """A prepared set on disk, opened by `PreparedSet(path)`. Raises DataError for a damaged one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = read_manifest(path, FORMAT)
        count, atoms = self.manifest["structures"], self.manifest["atoms"]
        rows = {
            **dict.fromkeys(BY_ATOM, atoms),
            **dict.fromkeys(BY_STRUCTURE, count),
            **dict.fromkeys(OFFSETS, count + 1),
            **(dict.fromkeys(STRESSES, count) if self.manifest.get("stresses") else {}),
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

    def __getitem__(self, index: int) -> Frame:
        """A frame whose arrays are views of the files."""
        arrays = self.arrays
        atoms = slice(self._first[index], self._first[index + 1])
        energy, forces = float(arrays["energies"][index]), arrays["forces"][atoms]
        text = arrays["text"][slice(*arrays["first_character"][index : index + 2])]
        group, split, source, info = json.loads(text.tobytes())
        frame = Frame(
            numbers=arrays["numbers"][atoms],
            positions=arrays["positions"][atoms],
            cell=arrays["cells"][index],
            pbc=arrays["pbc"][index],
            energy=None if math.isnan(energy) else energy,
            forces=None if len(forces) and math.isnan(forces[0, 0]) else forces,
            stress=arrays["stresses"][index] if "stresses" in arrays else None,
            group=group,
            split=split,
            source=source,
            info=info,
        )
        return frame.with_key(self.keys[index])

    @property
    def frames(self) -> "Frames":
        return Frames(self, np.arange(len(self)))

    @cached_property
    def groups(self) -> list[str]:
        """The molecule or material of each structure, empty where it has none."""
        text, first = self.arrays["text"].tobytes(), self.arrays["first_character"].tolist()
        return [json.loads(text[start:end])[0] for start, end in pairwise(first)]

    @property
    def free_atom_energies(self) -> dict[int, float]:
        """eV by atomic number, for the elements of which the source has one."""
        return {int(z): energy for z, energy in self.manifest["free_atom_energies"].items()}

    def index_of(self, key: str) -> int:
        """The index of the structure with a content key."""
        if not self._index:
            self._index = {key: index for index, key in enumerate(self.keys)}
        return self._index[key]


class Frames(Sequence[Frame]):
    """A selection of the frames of a prepared set, each read on access."""

    def __init__(self, source: PreparedSet, indices: np.ndarray) -> None:
        self.source, self.indices = source, np.asarray(indices, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> "Frames": ...
    def __getitem__(self, index: int | slice) -> "Frame | Frames":
        if isinstance(index, slice):
            return Frames(self.source, self.indices[index])
        return self.source[int(self.indices[index])]

    def keys(self) -> list[str]:
        """The content keys of the frames."""
        return [self.source.keys[index] for index in self.indices.tolist()]

    def energies(self) -> np.ndarray:
        """[frames] eV, NaN where a frame has none."""
        return self.source.arrays["energies"][self.indices]

    def with_forces(self) -> np.ndarray:
        """[frames] whether a frame has forces."""
        first = self.source.arrays["first_atom"][self.indices]
        return np.isfinite(self.source.arrays["forces"][first, 0])

    def groups(self) -> list[str]:
        """The molecule or material of each frame, empty where it has none."""
        return [self.source.groups[index] for index in self.indices.tolist()]

    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """[N] atomic numbers of all frames one after another, and [frames] how many atoms each has."""
        first = self.source.arrays["first_atom"]
        begin, sizes = first[self.indices], first[self.indices + 1] - first[self.indices]
        atoms = np.arange(sizes.sum()) + np.repeat(begin - (sizes.cumsum() - sizes), sizes)
        return self.source.arrays["numbers"][atoms], sizes

    def at(self, indices: Sequence[int]) -> "Frames":
        """The frames at these positions of this selection."""
        return Frames(self.source, self.indices[np.asarray(indices, dtype=np.int64)])


def prepare(
    parent: Path,
    name: str,
    read: Reader,
    subset: SubsetRule | None,
    max_force: float,
    origin: dict[str, Any],
    added: Iterable[Frame] = (),
) -> PreparedSet:
    """The prepared set of a source, made in the folder `parent` if it is missing there.

    A `parent` that is itself a prepared set is opened instead. origin: everything that determines the content, see
    `origin_of`; added: frames after those of the source, to which the subset does not apply. Raises ConfigError if that
    set was made with other options, DataError if no structure is left, and the errors of the reader, the subset and the
    screening.
    """
    if (parent / MANIFEST).exists():
        prepared = PreparedSet(parent)
        check_matches(parent, prepared.manifest["of"], origin)
        return prepared
    digest = hashlib.sha256(json.dumps([FORMAT, origin], sort_keys=True).encode()).hexdigest()[:10]
    path = parent / f"{name}-{digest}"
    if not (path / MANIFEST).exists():
        warn_of_changed_sources(path, origin)

    def make(folder: Path) -> dict[str, Any]:
        frames, free_atoms = read()
        screening = Screening(max_force)
        counts = write(screening(chain(frames if subset is None else subset(frames), added)), folder)
        if counts["structures"]:
            counts = write_fit(folder, counts, screening)
        screening.check_share(counts["structures"])
        if not counts["structures"]:
            raise DataError(f"no structure of data={name} is left", "check data.subset and the source")
        quarantine(screening.rejected, folder / QUARANTINE)
        return {
            "format": FORMAT,
            "name": name,
            **counts,
            "free_atom_energies": {str(z): energy for z, energy in free_atoms.items()},
            "set_aside": dict(Counter(entry.reason for entry in screening.rejected).most_common()),
            "jointkd": version("jointkd"),
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "of": origin,
        }

    make_once(path, make, "data.prepared")
    return PreparedSet(path)


def write_fit(folder: Path, counts: dict[str, Any], screening: Screening) -> dict[str, Any]:
    """Set aside what only the whole set shows to be unfit, and check its units; returns the counts of the rest.

    Unfit are energies far from those of all others, and structures that a later one contradicts. If there are any,
    which is rare, the others are written again. Raises DataError for energies in another unit, and for forces that do
    not belong to the energies.
    """
    unchecked = folder / UNCHECKED
    unchecked.mkdir()
    for file in folder.glob("*.npy"):
        file.rename(unchecked / file.name)
    (unchecked / MANIFEST).write_text(json.dumps({"format": FORMAT, **counts}), encoding="utf-8")
    whole = PreparedSet(unchecked)
    numbers, first_atom, energies = (whole.arrays[array] for array in ("numbers", "first_atom", "energies"))
    absurd = np.flatnonzero(absurd_energies(numbers, first_atom, energies))
    unfit = {**screening.contradicted, **{whole.keys[index]: ABSURD_ENERGY for index in absurd}}
    sound = [index for index, key in enumerate(whole.keys) if key not in unfit]
    check_energies(numbers, first_atom, energies)
    check_forces(whole.frames.at(sound))
    if unfit:
        screening.rejected += [Rejected(whole[whole.index_of(key)], reason) for key, reason in unfit.items()]
        counts = write(whole.frames.at(sound), folder)
    else:
        for file in unchecked.glob("*.npy"):
            file.rename(folder / file.name)
    shutil.rmtree(unchecked, ignore_errors=True)
    return counts


def write(frames: Iterable[Frame], folder: Path) -> dict[str, Any]:
    """Write frames one by one; returns the numbers of structures, atoms and characters, and the elements."""
    frames = iter(frames)
    first = list(islice(frames, 1))
    stresses = STRESSES if first and first[0].stress is not None else {}
    writer = Writer(folder, {**BY_ATOM, **BY_STRUCTURE, **stresses, **OFFSETS, **TEXT})
    elements: set[int] = set()
    try:
        for name in OFFSETS:
            writer.append(name, 0)
        for frame in chain(first, frames):
            count = len(frame)
            text = json.dumps([frame.group, frame.split, frame.source, dict(frame.info)], default=plain).encode()
            writer.append("numbers", frame.numbers)
            writer.append("positions", frame.positions)
            writer.append("forces", np.full((count, 3), np.nan) if frame.forces is None else frame.forces)
            writer.append("cells", frame.cell)
            writer.append("pbc", frame.pbc)
            writer.append("energies", np.nan if frame.energy is None else frame.energy)
            writer.append("keys", frame.key.encode())
            for name in stresses:
                writer.append(name, frame.stress)
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
        **dict.fromkeys(stresses, True),
    }


def plain(value: Any) -> Any:
    """numpy's numbers and arrays, and other values that JSON lacks, as values that JSON has."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
