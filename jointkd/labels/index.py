"""What the shards of a label store hold, in one file: opening a large store then takes seconds instead of minutes.

The index is a cache. What it says of a shard counts only while the shard has the size and the time of change that it
had when it was read; shards that are not in it are read again, and without the file nothing is lost.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from jointkd.errors import StorageError
from jointkd.files.atomic import storage_errors, write_whole

FILE = "index.npz"
FORMAT = 2


@dataclass
class ShardEntry:
    """The contents of a shard."""

    size: int  # bytes
    changed: int  # ns
    keys: list[str]  # of the structures that are labelled
    rows: np.ndarray  # [keys] number of Hessian rows
    probes: np.ndarray  # [keys] number of probes of the Hessian
    failed: dict[str, str]  # reason by key
    verified: bool = False  # whether its checksum has been that of its name


def read_index(path: Path) -> dict[str, ShardEntry]:
    """The index of the store at `path` by the names of shards; {} where there is none that can be read."""
    try:
        with np.load(path / FILE, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in arrays.files}
        if int(stored["format"]) != FORMAT:
            return {}
        keys = stored["keys"].astype("U32").tolist()
        failed = json.loads(stored["failed"].tobytes())
        spans = pairwise(accumulate(stored["counts"].tolist(), initial=0))
        return {
            name: ShardEntry(
                size,
                changed,
                keys[start:end],
                stored["rows"][start:end],
                stored["probes"][start:end],
                failed.get(name, {}),
                verified,
            )
            for name, size, changed, verified, (start, end) in zip(
                stored["names"].astype("U").tolist(),
                stored["sizes"].tolist(),
                stored["changed"].tolist(),
                stored["verified"].tolist(),
                spans,
                strict=True,
            )
        }
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile):
        return {}


def write_index(path: Path, entries: Mapping[str, ShardEntry]) -> None:
    """Write the index of the store at `path`, where that is possible: a store may be read-only."""
    content = io.BytesIO()
    every = list(entries.values())
    np.savez(
        content,
        format=np.array(FORMAT),
        names=np.array(list(entries), dtype="S"),
        sizes=np.array([entry.size for entry in every], dtype=np.int64),
        changed=np.array([entry.changed for entry in every], dtype=np.int64),
        verified=np.array([entry.verified for entry in every], dtype=bool),
        counts=np.array([len(entry.keys) for entry in every], dtype=np.int64),
        keys=np.array([key for entry in every for key in entry.keys], dtype="S32"),
        rows=joined([entry.rows for entry in every]),
        probes=joined([entry.probes for entry in every]),
        failed=np.frombuffer(
            json.dumps({name: entry.failed for name, entry in entries.items() if entry.failed}).encode(), dtype=np.uint8
        ),
    )
    try:
        with storage_errors(path, "label.path"):
            write_whole(path / FILE, content.getvalue())
    except StorageError:
        return


def joined(counts: list[np.ndarray]) -> np.ndarray:
    """Numbers of all shards in one array."""
    return np.concatenate(counts or [np.zeros(0)]).astype(np.int32)
