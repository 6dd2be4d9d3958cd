"""Labels the structures that a label store lacks. Several processes may do so at once, and be killed at any time."""

import hashlib
import logging
import time
from collections.abc import Iterable

import torch

from jointkd.errors import TeacherError
from jointkd.labelling.batching import Batching
from jointkd.labelling.checker import LabelChecker
from jointkd.labelling.formats import format_rate
from jointkd.labelling.plan import Directions
from jointkd.labelling.sigterm import leave_on_sigterm
from jointkd.labels.checks import describe_failures
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.progress import Progress, format_time
from jointkd.runtime import keep_freed_memory
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher, check_elements
from jointkd.teachers.charges import check_charges

log = logging.getLogger(__name__)

PAUSE = 0.5  # s
HOPELESS = 4  # if so many structures fail and none is labelled, the teacher is at fault


def label(
    frames: list[Frame],
    directions: Directions,
    teacher: Teacher,
    store: LabelStore,
    shard_size: int = 16,
    silent: bool = False,
) -> None:
    """Label the structures that `store` lacks, `shard_size` structures at a time. silent: do not show the progress.

    The chunks of structures depend only on `frames`, so all processes agree on them, and each chunk is claimed by one
    process. A chunk is committed as a whole, and committed labels are never computed again. Structures whose labels
    fail the checks are recorded as failed. Raises StorageError, and TeacherError for a teacher that cannot label any
    structure of the first chunk, does not take the charges of structures, or whose forces or Hessian rows are not the
    derivatives of its energies or forces.
    """
    check_elements(frames, teacher.identity)
    check_charges(frames, teacher)
    if not torch.cuda.is_available():
        keep_freed_memory()
    chunks = [frames[start : start + shard_size] for start in range(0, len(frames), shard_size)]
    batching, checker = Batching(teacher), LabelChecker(teacher)
    with leave_on_sigterm(silent) as leave_if_asked, LabelProgress(frames, directions, store, silent) as progress:
        while waiting := [chunk for chunk in chunks if not all(store.is_done(frame.key) for frame in chunk)]:
            claimed = 0
            for chunk in waiting:
                leave_if_asked()
                name = chunk_name(chunk)
                perhaps_done = store.was_claimed(name)
                with store.claim(name) as mine:
                    if not mine:
                        continue
                    claimed += 1
                    if perhaps_done:
                        progress.count(store.refresh())
                    missing = [frame for frame in chunk if not store.is_done(frame.key)]
                    if missing:
                        commit(missing, directions, batching, store, checker)
                        progress.count(frame.key for frame in missing)
            if not claimed:
                time.sleep(PAUSE)  # while other processes label all remaining chunks
                progress.count(store.refresh())
    store.save_index()


class LabelProgress:
    """The progress of all processes that label into a store."""

    def __init__(self, frames: list[Frame], directions: Directions, store: LabelStore, silent: bool = False) -> None:
        self.silent, self.total = silent, len(frames)
        self.task = f"labels of {store.teacher.name}"
        self.left = {frame.key: cost(frame, directions) for frame in frames if not store.is_done(frame.key)}
        self.cost_left = self.first_cost = sum(self.left.values())
        self.first_done = self.done
        self.started = time.monotonic()
        self.progress = Progress(self.task, self.done, self.total, silent=silent)

    @property
    def done(self) -> int:
        """Number of structures that are labelled or failed."""
        return self.total - len(self.left)

    def __enter__(self) -> "LabelProgress":
        self.progress.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.__exit__(*error)

    def count(self, keys: Iterable[str]) -> None:
        """Count structures that this or another process has done, and update the bar, or log a line if one is due."""
        self.cost_left -= sum(self.left.pop(key, 0.0) for key in keys)
        if not self.silent:
            self.progress.show(self.done, self._line)

    def _line(self) -> str:
        """The number of structures, the rate since this process started, and the time left at that rate."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        speed = (self.first_cost - self.cost_left) / seconds
        time_left = f", {format_time(self.cost_left / speed)} left" if self.left and speed else ""
        rate = format_rate((self.done - self.first_done) / seconds)
        return f"{self.task}: {self.done} of {self.total} structures, {rate}{time_left}"


def cost(frame: Frame, directions: Directions) -> float:
    """Relative computing time of a structure: that of its energy and of each row is proportional to its atoms."""
    return len(frame) * (1.0 + len(directions[frame.key]))


def commit(
    frames: list[Frame], directions: Directions, batching: Batching, store: LabelStore, checker: LabelChecker
) -> None:
    """Label structures and write the labels as one shard. Raises TeacherError if none of the first can be labelled."""
    labels: dict[str, TeacherLabels] = {}
    failed: dict[str, str] = {}
    for frame, result in zip(frames, batching.label(frames, [directions[frame.key] for frame in frames]), strict=True):
        reason = result if isinstance(result, str) else checker.check(frame, result)
        if isinstance(result, str) or reason is not None:
            failed[frame.key] = str(reason)
            log.warning("%s: %s", frame.source or frame.key, reason)
        else:
            labels[frame.key] = result
    if len(failed) >= HOPELESS and not labels and not len(store):
        raise TeacherError(
            f"teacher {batching.teacher.identity.name} cannot label any of the first {len(failed)} structures: "
            f"{describe_failures(failed.values())}",
            "check the structures and the options of the teacher; nothing was written",
        )
    store.append(labels, failed)


def chunk_name(chunk: list[Frame]) -> str:
    """A name for a chunk of structures that all processes agree on."""
    return hashlib.sha256("".join(frame.key for frame in chunk).encode()).hexdigest()[:16]
