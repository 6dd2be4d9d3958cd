"""Neighbour lists of a prepared set, computed once and stored with it as memory-mapped pairs of atoms.

    <prepared set>/neighbors-<cutoff>[-<max_neighbors>]/
      first_pair, first_image    where the pairs and images of each structure begin
      atoms, images              see `neighbors.Pairs`

Each pair of atoms is stored once, as two small integers; images are stored for periodic structures only. The edges in
both directions are derived from them when a structure is loaded, which takes a sixth of the time of a search.
"""

import logging
import shutil
from collections.abc import Callable, Iterable
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
MAX_DISK_SHARE = 0.5  # of the free space
SAMPLE_SIZE = 32  # structures from which the size on disk is estimated
LOG_EVERY = 2000  # structures

NeighborsOf = Callable[[Frame], Neighbors]


class StoredNeighbors:
    """The stored neighbours of the frames of a prepared set. Raises DataError for damaged files."""

    def __init__(self, source: PreparedSet, path: Path) -> None:
        self.source, self.path = source, path
        manifest = read_manifest(path, FORMAT)
        first = {name: open_array(path, name, len(source) + 1) for name in ("first_pair", "first_image")}
        self.first_pair, self._first_image = first["first_pair"], first["first_image"]
        self._atoms = open_array(path, "atoms", manifest["pairs"])
        self._images = open_array(path, "images", manifest["images"])

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredNeighbors, (self.source, self.path)

    def __call__(self, frame: Frame) -> Neighbors:
        index = self.source.index_of(frame.key)
        atoms = self._atoms[slice(*self.first_pair[index : index + 2])]
        images = self._images[slice(*self._first_image[index : index + 2])]
        return edges(Pairs(atoms, images), frame.cell)


def pairs_of(found: NeighborsOf, keys: Iterable[str]) -> np.ndarray | None:
    """The number of pairs of each structure, where neighbours are stored."""
    if not isinstance(found, StoredNeighbors):
        return None
    indices = np.array([found.source.index_of(key) for key in keys])
    return np.diff(found.first_pair)[indices]


def neighbors_of(source: PreparedSet, cutoff: float, max_neighbors: int | None = None) -> NeighborsOf:
    """The neighbours within `cutoff` (Å): the stored ones, which are computed first if they are missing.

    If they would fill more than half of the free disk, they are computed on every access instead, and a warning is
    logged.
    """
    name = f"neighbors-{str(cutoff).removesuffix('.0')}"  # all digits: no two cutoffs share a name
    path = source.path / (name if max_neighbors is None else f"{name}-{max_neighbors}")
    if not (path / MANIFEST).exists():
        size = estimated_bytes(source, cutoff, max_neighbors)
        free = shutil.disk_usage(source.path).free
        if size > MAX_DISK_SHARE * free:
            log.warning(
                "neighbours within %g Å would take %.1f GB of the %.1f GB that are free in %s, so they are computed "
                "anew in every epoch; set data.workers",
                cutoff,
                size / 1e9,
                free / 1e9,
                source.path,
            )
            return partial(computed, cutoff=cutoff, max_neighbors=max_neighbors)
        make_once(path, partial(write, source, cutoff, max_neighbors), "data.prepared")
    return StoredNeighbors(source, path)


def computed(frame: Frame, cutoff: float, max_neighbors: int | None) -> Neighbors:
    """The neighbours of a frame, by a new search."""
    return neighbors(frame.positions, frame.cell, frame.pbc, cutoff, max_neighbors)


def estimated_bytes(source: PreparedSet, cutoff: float, max_neighbors: int | None) -> float:
    """The size of the stored neighbours, estimated from a sample of the structures."""
    sample = source.frames[:: max(1, len(source) // SAMPLE_SIZE)]
    itemsize = index_type(source).itemsize
    sampled = [find_pairs(frame.positions, frame.cell, frame.pbc, cutoff, max_neighbors) for frame in sample]
    return sum(pairs.atoms.size * itemsize + pairs.images.size * 2 for pairs in sampled) * len(source) / len(sample)


def index_type(source: PreparedSet) -> np.dtype:
    """The smallest integer type that can index the atoms of every structure."""
    return np.min_scalar_type(int(np.diff(source.arrays["first_atom"]).max()))


def write(source: PreparedSet, cutoff: float, max_neighbors: int | None, folder: Path) -> dict[str, Any]:
    """Find and write the neighbours of all structures; returns the manifest."""
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
        for index, frame in enumerate(source.frames):
            pairs = find_pairs(frame.positions, frame.cell, frame.pbc, cutoff, max_neighbors)
            writer.append("atoms", pairs.atoms)
            writer.append("images", pairs.images)
            writer.append("first_pair", writer.rows["atoms"])
            writer.append("first_image", writer.rows["images"])
            if index and index % LOG_EVERY == 0:
                log.info("neighbours within %g Å: %d of %d structures", cutoff, index, len(source))
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
