"""Neighbours of a prepared set, found once and kept beside it as memory-mapped pairs of atoms.

    <prepared set>/neighbors-<cutoff>[-<max_neighbors>]/
      first_pair, first_image    where a structure's pairs and images begin
      atoms, images              see `neighbors.Pairs`

Each pair of atoms is stored once, in two small integers, and images only of periodic structures. Both directions,
shifts and reverses are made of them when a structure is asked for, which takes a sixth of the time of a search.
"""

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jointkd.data.prepared import PreparedSet
from jointkd.files.arrays import MANIFEST, Writer, make_once, open_array, read_manifest
from jointkd.structures.frame import Frame
from jointkd.structures.neighbors import Neighbors, Pairs, edges, find_pairs, neighbors

log = logging.getLogger(__name__)

FORMAT = 1
MOST_OF_DISK = 0.5  # of what is free
SAMPLED = 32  # structures by which the size is estimated
TOLD = 2000  # structures between two lines of the log

NeighborsOf = Callable[[Frame], Neighbors]


class StoredNeighbors:
    """The neighbours of the frames of a prepared set. Raises DataError for damaged files."""

    def __init__(self, source: PreparedSet, path: Path) -> None:
        self.source, self.path = source, path
        manifest = read_manifest(path, FORMAT)
        first = {name: open_array(path, name, len(source) + 1) for name in ("first_pair", "first_image")}
        self._first_pair, self._first_image = first["first_pair"], first["first_image"]
        self._atoms = open_array(path, "atoms", manifest["pairs"])
        self._images = open_array(path, "images", manifest["images"])

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredNeighbors, (self.source, self.path)

    def __call__(self, frame: Frame) -> Neighbors:
        number = self.source.number_of(frame.key)
        atoms = self._atoms[slice(*self._first_pair[number : number + 2])]
        images = self._images[slice(*self._first_image[number : number + 2])]
        return edges(Pairs(atoms, images), frame.cell)


def neighbors_of(source: PreparedSet, cutoff: float, max_neighbors: int | None = None) -> NeighborsOf:
    """The stored neighbours within `cutoff` (Å), found now if they are not there.

    Where they would take more than half of the free disk, they are found anew each time, and that is said.
    """
    name = f"neighbors-{str(cutoff).removesuffix('.0')}"  # all digits: no two cutoffs share a name
    path = source.path / (name if max_neighbors is None else f"{name}-{max_neighbors}")
    if not (path / MANIFEST).exists():
        size = estimated_bytes(source, cutoff, max_neighbors)
        free = shutil.disk_usage(source.path).free
        if size > MOST_OF_DISK * free:
            log.warning(
                "neighbours within %g Å would take %.1f GB of the %.1f GB that are free in %s: they are found anew in "
                "every epoch; give data.workers",
                cutoff,
                size / 1e9,
                free / 1e9,
                source.path,
            )
            return partial(computed, cutoff=cutoff, max_neighbors=max_neighbors)
        make_once(path, partial(write, source, cutoff, max_neighbors), "data.prepared")
    return StoredNeighbors(source, path)


def computed(frame: Frame, cutoff: float, max_neighbors: int | None) -> Neighbors:
    """The neighbours of a frame without a file of them."""
    return neighbors(frame.positions, frame.cell, frame.pbc, cutoff, max_neighbors)


def estimated_bytes(source: PreparedSet, cutoff: float, max_neighbors: int | None) -> float:
    """How large the file of neighbours will be, from some of the structures."""
    sample = source.frames[:: max(1, len(source) // SAMPLED)]
    index = index_type(source)
    found = [find_pairs(frame.positions, frame.cell, frame.pbc, cutoff, max_neighbors) for frame in sample]
    return sum(pairs.atoms.size * index.itemsize + pairs.images.size * 2 for pairs in found) * len(source) / len(sample)


def index_type(source: PreparedSet) -> np.dtype:
    """The smallest type that counts the atoms of each structure."""
    return np.min_scalar_type(int(np.diff(source.arrays["first_atom"]).max()))


def write(source: PreparedSet, cutoff: float, max_neighbors: int | None, folder: Path) -> dict[str, Any]:
    """Find the neighbours of all structures of a set."""
    writer = Writer(
        folder,
        {
            "atoms": (index_type(source), (2,)),
            "images": ("<i2", (3,)),
            "first_pair": ("<i8", ()),
            "first_image": ("<i8", ()),
        },
    )
    try:
        writer.append("first_pair", 0)
        writer.append("first_image", 0)
        for number, frame in enumerate(source.frames):
            pairs = find_pairs(frame.positions, frame.cell, frame.pbc, cutoff, max_neighbors)
            writer.append("atoms", pairs.atoms)
            writer.append("images", pairs.images)
            writer.append("first_pair", writer.rows["atoms"])
            writer.append("first_image", writer.rows["images"])
            if number and number % TOLD == 0:
                log.info("neighbours within %g Å: %d of %d structures", cutoff, number, len(source))
        writer.finish()
    finally:
        writer.close()
    return {
        "format": FORMAT,
        "cutoff": cutoff,
        "max_neighbors": max_neighbors,
        "pairs": writer.rows["atoms"],
        "images": writer.rows["images"],
    }
