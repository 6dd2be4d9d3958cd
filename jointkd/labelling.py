"""Label what is not labelled yet: any number of processes may run this at once, and be killed at any moment."""

import hashlib
import time
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from jointkd.frame import Frame
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.teachers.base import Teacher, check_elements

RowIds = dict[str, np.ndarray]  # key of a structure → [K] rows it gets


def label(frames: list[Frame], row_ids: RowIds, teacher: Teacher, store: LabelStore, shard_size: int = 16) -> None:
    """Bring the labels of `frames` into `store`, `shard_size` structures at a time.

    Chunks of structures depend on nothing but the frames, so processes agree on them and each is claimed by one.
    A chunk is committed whole; what was committed is never made again. Structures for which the teacher gives
    numbers that are not finite are recorded as failed. Raises TeacherError, StorageError.
    """
    check_elements(frames, teacher.identity)
    chunks = [frames[start : start + shard_size] for start in range(0, len(frames), shard_size)]
    rows_left = sum(len(row_ids[frame.key]) for frame in frames if not done(store, frame))
    progress = tqdm(total=rows_left, desc=f"labels of {teacher.identity.name}", unit="row", disable=None)
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
                    commit(missing, row_ids, teacher, store, progress)
        if not claimed:
            wait_for_others(store)
    progress.close()


def commit(frames: list[Frame], row_ids: RowIds, teacher: Teacher, store: LabelStore, progress: tqdm) -> None:
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
        progress.update(sum(len(ids) for ids in chosen))
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
