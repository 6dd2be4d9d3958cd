"""Maintenance of a label store without its teacher: status, verification and merging."""

import itertools
import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from jointkd.errors import LabelMismatch
from jointkd.files.atomic import storage_errors, write_whole
from jointkd.labels.checks import describe_failures
from jointkd.labels.shards import CHANGED, is_intact
from jointkd.labels.store import LabelStore

NEWEST = 50  # the rate is that of so many shards, the newest
PAUSE = 10  # an interval between shards above so many median intervals separates two runs


@dataclass(frozen=True)
class Status:
    """The progress of labelling."""

    total: int  # structures
    done: int
    failed: dict[str, str]  # reasons by key
    rate: float | None  # structures per second in the last run; None if less than two shards were written
    since: float | None  # s since the last shard was written; None without one

    @property
    def left(self) -> int:
        """Number of structures that are still to be labelled."""
        return self.total - self.done - len(self.failed)


def status(store: LabelStore, keys: Collection[str]) -> Status:
    """The progress of labelling some structures, given by their keys."""
    failed = {key: store.failed[key] for key in keys if key in store.failed}
    done = sum(key in store and key not in failed for key in keys)
    times = sorted((shard.stat().st_mtime, len(content)) for shard, content in store.shards().items())
    since = time.time() - times[-1][0] if times else None
    return Status(len(keys), done, failed, rate_of(times[-NEWEST:]), since)


def rate_of(written: list[tuple[float, int]]) -> float | None:
    """Structures per second in the last run; None if unknown. written: time (s) and structures of shards, ascending."""
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(written)]
    if not gaps or not statistics.median(gaps):
        return None
    pauses = [number for number, gap in enumerate(gaps, start=1) if gap > PAUSE * statistics.median(gaps)]
    last_run = written[pauses[-1] if pauses else 0 :]
    seconds = last_run[-1][0] - last_run[0][0]
    return sum(count for _, count in last_run[1:]) / seconds if seconds else None


def damaged_shards(path: Path) -> dict[Path, str]:
    """The damaged shards of a directory, each with the reason. Every checksum is recomputed."""
    damaged = {}
    for shard in sorted((path / "shards").glob("*.safetensors")):
        if not is_intact(shard):
            damaged[shard] = CHANGED
            continue
        try:
            with safe_open(shard, framework="numpy") as opened:
                header = opened.metadata() or {}
        except SafetensorError as error:
            damaged[shard] = str(error)
        else:
            if not {"keys", "failed"} <= header.keys():
                damaged[shard] = "its header is not that of a label shard"
    return damaged


def set_aside(path: Path, shards: Collection[Path]) -> Path:
    """Move shards to the folder `damaged/`, which is never read; the next run labels their structures again."""
    folder = path / "damaged"
    with storage_errors(path, "label.path"):
        folder.mkdir(exist_ok=True)
        for shard in shards:
            shard.replace(folder / shard.name)
    return folder


def merge(store: LabelStore, other: LabelStore) -> int:
    """Copy the shards of another store that hold new structures, and return the number of structures gained.

    Raises LabelMismatch if the other store is of another teacher, dtype or choice of rows; CorruptShard, StorageError.
    """
    if other.path.resolve() == store.path.resolve():
        raise LabelMismatch(f"label.merge={other.path} is the store itself", "give another directory of labels")
    store.check({**other.teacher.fingerprint(), **other.settings})
    other.verify()
    before = len(store)
    for shard, keys in other.shards().items():
        if not all(store.is_done(key) for key in keys):
            with storage_errors(store.path, "label.path"):
                write_whole(store.path / "shards" / shard.name, shard.read_bytes())
            store.refresh()
    return len(store) - before


def summary(store: LabelStore) -> str:
    """The number of labelled and of failed structures in a store, with the reasons, in one line."""
    failed = f" ({describe_failures(store.failed.values())})" if store.failed else ""
    return f"{len(store)} structures are labelled, {len(store.failed)} failed{failed}: {store.path}"
