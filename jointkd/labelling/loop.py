"""Label what is not labelled yet: any number of processes may run this at once, and be killed at any moment."""

import hashlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from jointkd.errors import TeacherError
from jointkd.labelling.batching import Batching
from jointkd.labelling.formats import format_rate, format_time
from jointkd.labelling.plan import RowIds
from jointkd.labels.checks import BOUNDS, counted, difference_error, displaced, displacements, flaw
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.runtime import keep_freed_memory
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher, check_elements

log = logging.getLogger(__name__)

HOPELESS = 4  # so many failures without a single label mean that the teacher is at fault
QUIET = 300  # s; a log gets a line at least that often while structures are labelled


def label(
    frames: list[Frame],
    row_ids: RowIds,
    teacher: Teacher,
    store: LabelStore,
    shard_size: int = 16,
    silent: bool = False,
) -> None:
    """Bring the labels of `frames` into `store`, `shard_size` structures at a time.

    Chunks of structures depend on nothing but the frames, so processes agree on them and each is claimed by one.
    A chunk is committed whole; what was committed is never made again. Structures whose labels cannot be true are
    recorded as failed. `silent`: another process tells the progress. Raises TeacherError (also where nothing of the
    first chunk can be labelled), StorageError.
    """
    check_elements(frames, teacher.identity)
    if not torch.cuda.is_available():
        keep_freed_memory()
    chunks = [frames[start : start + shard_size] for start in range(0, len(frames), shard_size)]
    batching, inspector = Batching(teacher), Inspector(teacher)
    with leave_on_sigterm(silent), Progress(frames, row_ids, store, silent) as progress:
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
                        commit(missing, row_ids, batching, store, inspector)
                        progress.show()
            if not claimed:
                wait_for_others(store)
                progress.show()


@contextmanager
def leave_on_sigterm(silent: bool = False) -> Iterator[None]:
    """A batch system's SIGTERM ends the block as Ctrl-C does, with exit status 143, at the next step in Python."""

    def leave(number: int, _: Any) -> None:
        if not silent:
            log.warning("stopped by SIGTERM; the same command goes on from what was saved")
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only there may Python handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Inspector:
    """Looks at all labels before they are stored, and at those of one structure against differences of forces."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        # a teacher whose rows are differences of forces says rows_precision = "differences"
        precision = getattr(teacher, "rows_precision", teacher.identity.dtype)
        self.bounds = BOUNDS.get(precision, BOUNDS["float32"])
        self.compared = False

    def flaw(self, frame: Frame, labels: TeacherLabels) -> str | None:
        """Why labels cannot be true, or None. Raises TeacherError where rows are not derivatives of the forces."""
        found = flaw(labels, frame, self.teacher.identity, self.bounds)
        if found is None and not self.compared and len(labels.row_ids):
            self.compared = self._compare(frame, labels)
        return found

    def _compare(self, frame: Frame, labels: TeacherLabels) -> bool:
        """Whether the rows could be compared; where the teacher fails nearby, another structure is to be."""
        moves = displacements(frame, self.bounds.step)
        no_rows = np.zeros(0, dtype=np.int64)
        forces = [self.teacher.label([copy], [no_rows])[0].forces for copy in displaced(frame, moves)]
        if not all(np.isfinite(found).all() for found in forces):
            log.warning(
                "%s: %s fails on a slightly displaced copy, so its rows were not compared with differences of forces",
                frame.source or frame.key, self.teacher.identity.name,
            )  # fmt: skip
            return False
        error = difference_error(labels, moves, forces)
        if not error <= self.bounds.differences:
            raise TeacherError(
                f"the Hessian rows of teacher {self.teacher.identity.name} are not those of its forces: for "
                f"{frame.source or frame.key} they are off by {error:.1e} of the largest entry from differences of "
                f"forces (bound {self.bounds.differences:.0e})",
                "check the sign and the units of the teacher, and that its forces are derivatives of its energy",
            )
        return True


class Progress:
    """How much all processes have labelled together: a bar on a terminal, else a line for every tenth."""

    def __init__(self, frames: list[Frame], row_ids: RowIds, store: LabelStore, silent: bool = False) -> None:
        self.frames, self.row_ids, self.store, self.silent = frames, row_ids, store, silent
        self.name = store.teacher.name
        self.first, self.work_left = self._state()
        self.started = self.said = time.monotonic()
        disable = True if silent else None
        self.bar = tqdm(total=len(frames), initial=self.first, desc=f"labels of {self.name}", disable=disable)
        self.tenths = 10 * self.first // max(1, len(frames))

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def _state(self) -> tuple[int, float]:
        """How many structures are done, and the work that the others are."""
        left = [frame for frame in self.frames if not done(self.store, frame)]
        return len(self.frames) - len(left), sum(work(frame, self.row_ids) for frame in left)

    def show(self) -> None:
        if self.silent:
            return
        finished, left = self._state()
        self.bar.update(finished - self.bar.n)
        now, tenths = time.monotonic(), 10 * finished // len(self.frames)
        if self.bar.disable and (tenths > self.tenths or now - self.said > QUIET):
            seconds = max(now - self.started, 1e-9)
            rate = (finished - self.first) / seconds
            speed = (self.work_left - left) / seconds
            ahead = f", {format_time(left / speed)} left" if left and speed else ""
            log.info(
                "labels of %s: %d of %d structures, %s%s",
                self.name, finished, len(self.frames), format_rate(rate), ahead,
            )  # fmt: skip
            self.tenths, self.said = tenths, now


def work(frame: Frame, row_ids: RowIds) -> float:
    """What a structure costs, in arbitrary units: the energy and each row take a time that grows with the atoms."""
    return len(frame) * (1.0 + len(row_ids[frame.key]))


def commit(frames: list[Frame], row_ids: RowIds, batching: Batching, store: LabelStore, inspector: Inspector) -> None:
    """Label frames and write them as one shard. Raises TeacherError where none of the first ones can be labelled."""
    labels: dict[str, TeacherLabels] = {}
    failed: dict[str, str] = {}
    for frame, said in zip(frames, batching.label(frames, [row_ids[frame.key] for frame in frames]), strict=True):
        reason = said if isinstance(said, str) else inspector.flaw(frame, said)
        if isinstance(said, str) or reason is not None:
            failed[frame.key] = str(reason)
            log.warning("%s: %s", frame.source or frame.key, reason)
        else:
            labels[frame.key] = said
    if len(failed) >= HOPELESS and not labels and not len(store):
        raise TeacherError(
            f"teacher {batching.teacher.identity.name} can label none of the first {len(failed)} structures: "
            f"{counted(failed.values())}",
            "look at the structures and at the teacher's options; nothing was written",
        )
    store.append(labels, failed)


def done(store: LabelStore, frame: Frame) -> bool:
    return frame.key in store or frame.key in store.failed


def name_of(chunk: list[Frame]) -> str:
    return hashlib.sha256("".join(frame.key for frame in chunk).encode()).hexdigest()[:16]


def wait_for_others(store: LabelStore, seconds: float = 0.5) -> None:
    """Everything that is left is being labelled by others: give them time, then look again."""
    time.sleep(seconds)
    store.refresh()
