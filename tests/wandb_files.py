"""What an offline run of Weights & Biases has on disk."""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

HEADER, BLOCK = 7, 32768  # bytes: a log as that of LevelDB, after a header of its own
PREFIX = struct.Struct("<IHB")  # checksum, length, and kind of a part: whole, first, middle or last
WHOLE, LAST = 1, 4


@dataclass
class Records:
    """The records of a run. artifacts: type and names of files, by the name before the run's."""

    id: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
    exit_code: int | None = None  # None: it has not ended


def contents_of(log: bytes) -> Iterator[bytes]:
    """Each record of a log, which may still be written."""
    position, content = HEADER, b""
    while position + PREFIX.size <= len(log):
        if BLOCK - position % BLOCK < PREFIX.size:  # the rest of a block is empty
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = PREFIX.unpack_from(log, position)
        position += PREFIX.size
        if position + length > len(log):
            return
        content += log[position : position + length]
        position += length
        if kind in (WHOLE, LAST):
            yield content
            content = b""


def records_of(file: Path, seconds: float = 60.0) -> Records:
    """The file of a run that has ended; the process of wandb writes the last records after finish() has returned."""
    deadline = time.monotonic() + seconds
    while (records := records_so_far(file)).exit_code is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return records


def records_so_far(file: Path) -> Records:
    """What the file of a run holds now."""
    records = Records()
    for content in contents_of(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        match record.WhichOneof("record_type"):
            case "history":
                records.history.append(values_of(record.history.item))
            case "config":
                records.config |= values_of(record.config.update)
            case "run":
                records.id = record.run.run_id
                records.config |= values_of(record.run.config.update)
            case "artifact":
                name = record.artifact.name.rpartition("-")[0]
                files = {entry.path for entry in record.artifact.manifest.contents}
                records.artifacts[name] = (record.artifact.type, files)
            case "exit":
                records.exit_code = record.exit.exit_code
    return records


def values_of(items: Any) -> dict[str, Any]:
    """Values by name; of pictures by name, then by the name of the fact."""
    values: dict[str, Any] = {}
    for item in items:
        name, *fact = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        if fact:
            values.setdefault(name, {})[fact[0]] = value
        else:
            values[name] = value
    return values
