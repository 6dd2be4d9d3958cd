"""Label what is not labelled yet: any number of processes may run this at once, and be killed at any moment."""

import hashlib
import logging
import time
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from jointkd.frame import Frame
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.teachers.base import Teacher, check_elements

log = logging.getLogger(__name__)

RowIds = dict[str, np.ndarray]  # key of a structure → [K] rows it gets


def label(frames: list[Frame], row_ids: RowIds, teacher: Teacher, store: LabelStore, shard_size: int = 16) -> None:
    """Bring the labels of `frames` into `store`, `shard_size` structures at a time.

    Chunks of structures depend on nothing but the frames, so processes agree on them and each is claimed by one.
    A chunk is committed whole; what was committed is never made again. Structures for which the teacher gives
    numbers that are not finite are recorded as failed. Raises TeacherError, StorageError.
    """
    check_elements(frames, teacher.identity)
    chunks = [frames[start : start + shard_size] for start in range(0, len(frames), shard_size)]
    with Progress(frames, store, teacher.identity.name) as progress:
        while waiting := [chunk for chunk in chunks if not all(done(store, frame) for frame in chunk)]:
            claimed = 0
            for chunk in waiting:
                with store.claim(name_of(chunk)) as mine:
                    if not mine:
                        continue
                    claimed += 1
                    store.refresh()
                    missing = [frame for frame in chunk if not done(store, frame)]
                    if missing:
                        commit(missing, row_ids, teacher, store)
                        progress.show()
            if not claimed:
                wait_for_others(store)
                progress.show()


class Progress:
    """How much all processes have labelled together: a bar on a terminal, else a line for every tenth."""

    def __init__(self, frames: list[Frame], store: LabelStore, name: str) -> None:
        self.frames, self.store, self.name = frames, store, name
        self.bar = tqdm(total=len(frames), initial=self.done(), desc=f"labels of {name}", disable=None)
        self.tenths = 10 * self.done() // max(1, len(frames))

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def done(self) -> int:
        return sum(done(self.store, frame) for frame in self.frames)

    def show(self) -> None:
        finished = self.done()
        self.bar.update(finished - self.bar.n)
        tenths = 10 * finished // len(self.frames)
        if self.bar.disable and tenths > self.tenths:
            log.info("labels of %s: %d of %d structures", self.name, finished, len(self.frames))
            self.tenths = tenths


def commit(frames: list[Frame], row_ids: RowIds, teacher: Teacher, store: LabelStore) -> None:
    """Label frames and write them as one shard."""
    labels: dict[str, TeacherLabels] = {}
    failed: dict[str, str] = {}
    for batch in batches(frames, teacher.batch_atoms):
        chosen = [row_ids[frame.key] for frame in batch]
        for frame, labelled in zip(batch, teacher.label(batch, chosen), strict=True):
            if labelled.finite():
                labels[frame.key] = labelled
            else:
                failed[frame.key] = "the teacher's labels are not finite"
                log.warning("%s: %s", frame.source or frame.key, failed[frame.key])
    store.append(labels, failed)


def batches(frames: list[Frame], atoms: int) -> Iterator[list[Frame]]:
    """Consecutive frames, together at most `atoms` atoms, at least one at a time."""
    batch: list[Frame] = []
    for frame in frames:
        if batch and sum(map(len, batch)) + len(frame) > atoms:
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def done(store: LabelStore, frame: Frame) -> bool:
    return frame.key in store or frame.key in store.failed


def name_of(chunk: list[Frame]) -> str:
    return hashlib.sha256("".join(frame.key for frame in chunk).encode()).hexdigest()[:16]


def wait_for_others(store: LabelStore, seconds: float = 0.5) -> None:
    """Everything that is left is being labelled by others: give them time, then look again."""
    time.sleep(seconds)
    store.refresh()
