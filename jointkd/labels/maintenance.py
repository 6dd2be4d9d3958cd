"""Care of a directory of labels without its teacher: how far it is, whether it is whole, and bringing two together."""

import itertools
import statistics
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from jointkd.errors import LabelMismatch
from jointkd.files.atomic import storage_errors, write_whole
from jointkd.labels.checks import counted
from jointkd.labels.store import CHANGED, LabelStore, has_its_checksum

NEWEST = 50  # shards that the rate is taken from
PAUSE = 10  # an interval between shards so many times the median one is a pause, and what was before it another run


@dataclass(frozen=True)
class Status:
    """How far labelling is. rate: structures per second while it last went on, None where it cannot be known."""

    wanted: int
    done: int
    failed: dict[str, str]  # reasons by key
    rate: float | None
    since: float | None  # s since the last labels were written

    @property
    def left(self) -> int:
        return self.wanted - self.done - len(self.failed)


def status(store: LabelStore, wanted: Collection[str]) -> Status:
    """How far the labels of the structures `wanted`, given by their keys, are."""
    failed = {key: store.failed[key] for key in wanted if key in store.failed}
    finished = sum(key in store and key not in failed for key in wanted)
    times = sorted((shard.stat().st_mtime, len(keys)) for shard, keys in store.shards().items())
    since = time.time() - times[-1][0] if times else None
    return Status(len(wanted), finished, failed, rate_of(times[-NEWEST:]), since)


def rate_of(written: list[tuple[float, int]]) -> float | None:
    """Structures per second of shards, each with the time it was written and its number of structures, ascending."""
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(written)]
    if not gaps or not statistics.median(gaps):
        return None
    pauses = [number for number, gap in enumerate(gaps, start=1) if gap > PAUSE * statistics.median(gaps)]
    last_run = written[pauses[-1] if pauses else 0 :]
    seconds = last_run[-1][0] - last_run[0][0]
    return sum(count for _, count in last_run[1:]) / seconds if seconds else None


def damaged_shards(path: Path) -> dict[Path, str]:
    """The shards of a directory that are not what was written, each with the reason; every checksum is recomputed."""
    found = {}
    for shard in sorted((path / "shards").glob("*.safetensors")):
        if not has_its_checksum(shard):
            found[shard] = CHANGED
            continue
        try:
            with safe_open(shard, framework="numpy") as opened:
                header = opened.metadata() or {}
        except SafetensorError as error:
            found[shard] = str(error)
        else:
            if not {"keys", "failed"} <= header.keys():
                found[shard] = "its header is not one of labels"
    return found


def set_aside(path: Path, shards: Collection[Path]) -> Path:
    """Move shards to `damaged/`, where nothing reads them; the next run labels their structures again."""
    folder = path / "damaged"
    with storage_errors(path, "label.path"):
        folder.mkdir(exist_ok=True)
        for shard in shards:
            shard.replace(folder / shard.name)
    return folder


def merge(store: LabelStore, other: LabelStore) -> int:
    """Copy the shards of another store that have anything new, and say how many structures came with them.

    Raises LabelMismatch where they are of another teacher, dtype or choice of rows, CorruptShard, StorageError.
    """
    if other.path.resolve() == store.path.resolve():
        raise LabelMismatch(f"label.merge={other.path} is the store itself", "give another directory of labels")
    store.check({**other.teacher.fingerprint(), **other.settings})
    other.verify()
    before = len(store)
    for shard, keys in other.shards().items():
        if not all(key in store or key in store.failed for key in keys):
            with storage_errors(store.path, "label.path"):
                write_whole(store.path / "shards" / shard.name, shard.read_bytes())
            store.refresh()
    return len(store) - before


def summary(store: LabelStore) -> str:
    """What there is in a store, and what failed and why, in one line."""
    failed = f" ({counted(store.failed.values())})" if store.failed else ""
    return f"{len(store)} structures are labelled, {len(store.failed)} failed{failed}: {store.path}"
