"""The shards of a label store: immutable files of labels, each named after the checksum of its bytes."""

import hashlib
import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from jointkd.errors import CorruptShard, StorageError
from jointkd.files.atomic import file_sha256
from jointkd.labels.index import ShardEntry

SUFFIX = ".safetensors"
NAME_LENGTH = 32  # hexadecimal digits of the checksum in a shard's name
OPEN_SHARDS = 512  # that are mapped at a time; systems allow 65,530
CHANGED = "its checksum does not match its name"


def shard_name(content: bytes) -> str:
    """The name of the shard with these bytes."""
    return hashlib.sha256(content).hexdigest()[:NAME_LENGTH] + SUFFIX


def is_intact(shard: Path) -> bool:
    """Whether the checksum of a shard is the one in its name."""
    return file_sha256(shard)[:NAME_LENGTH] == shard.stem


def is_unchanged(entry: ShardEntry, found: os.stat_result) -> bool:
    """Whether a shard still has the size and the time of change at which it was read."""
    return (entry.size, entry.changed) == (found.st_size, found.st_mtime_ns)


class Shards:
    """The shards of a folder by name, mapped into memory when they are asked for.

    A process can map only so many files, so those that were not used for longest are closed. Raises CorruptShard for a
    damaged one, StorageError for one that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[str, Any] = OrderedDict()

    def __getitem__(self, name: str) -> Any:
        """The opened file of a shard, whose tensors are read on access."""
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        shard = self.folder / name
        try:
            handle = safe_open(shard, framework="numpy")
        except SafetensorError as error:
            raise damaged(shard, str(error)) from error
        except OSError as error:
            raise unreadable(shard, error) from error
        self._open[name] = handle
        if len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return handle

    def entry(self, name: str) -> ShardEntry:
        """The contents of a shard, read from its header."""
        handle, shard = self[name], self.folder / name
        try:
            header = handle.metadata()
            keys, failed = json.loads(header["keys"]), json.loads(header["failed"])
            present = set(handle.keys())
            rows, probes = (
                np.array([length(handle, f"{key}/{name}", present) for key in keys], dtype=np.int32)
                for name in ("row_ids", "probes")
            )
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise damaged(shard, "its header is not that of a label shard") from error
        found = shard.stat()
        return ShardEntry(found.st_size, found.st_mtime_ns, keys, rows, probes, failed)

    def __reduce__(self) -> tuple[Any, ...]:
        """So that another process opens the files itself."""
        return Shards, (self.folder,)


def length(handle: Any, name: str, present: set[str]) -> int:
    """The first dimension of a tensor of an opened shard; 0 without the tensor."""
    return int(handle.get_slice(name).get_shape()[0]) if name in present else 0


def damaged(shard: Path, reason: str) -> CorruptShard:
    """The error for a damaged shard."""
    return CorruptShard(
        f"the labels in {shard} are damaged ({reason})",
        "set them aside with label.verify=true, then run the command again to make them anew",
    )


def unreadable(shard: Path, error: OSError) -> StorageError:
    """The error for a shard that the operating system does not let us read; it may well be whole."""
    return StorageError(
        f"the labels in {shard} cannot be read ({error.strerror or error})", "see to its permissions, or to the disk"
    )
