"""How many structures a teacher labels together: as asked for or probed, and fewer where memory does not suffice."""

import logging
import os
import resource
import time
from contextlib import suppress

import numpy as np
import torch

from jointkd.labels.records import TeacherLabels
from jointkd.structures.frame import Frame
from jointkd.teachers.base import Teacher

log = logging.getLogger(__name__)

PROBE_ROWS = 2  # of each structure in the probe
GAIN = 1.05  # twice the structures must be that much faster to be worth their memory
NO_MEMORY = "memory does not suffice for it"
ALLOCATORS = ("can't allocate memory", "not enough memory", "out of memory")  # what torch says in a RuntimeError


class Batching:
    """A teacher that is given as many structures at once as it is fast with, and as memory allows.

    atoms: labelled together at most, a larger structure alone; None until a probe of the first structures has found it.
    """

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self.atoms = teacher.batch_atoms

    def label(self, frames: list[Frame], row_ids: list[np.ndarray]) -> list[TeacherLabels | str]:
        """The labels of each frame, or why there are none."""
        found: dict[int, TeacherLabels | str] = {}
        waiting = sorted(range(len(frames)), key=lambda i: (len(row_ids[i]), len(frames[i])))  # alike ones share passes
        if self.atoms is None and len(frames) > 1:
            middle = len(waiting) // 2
            usual = [*waiting[middle:], *reversed(waiting[:middle])]
            self.atoms = probe(self.teacher, [(frames[i], row_ids[i]) for i in usual])
        while waiting:
            count = fitting([frames[i] for i in waiting], self.atoms or 0)
            batch = [(frames[i], row_ids[i]) for i in waiting[:count]]
            labels = attempt(self.teacher, batch)
            if labels is None and count > 1:
                self._halve(sum(len(frame) for frame, _ in batch))
                continue
            said = [NO_MEMORY] if labels is None else labels
            found.update(zip(waiting[:count], said, strict=True))
            waiting = waiting[count:]
        return [found[i] for i in range(len(frames))]

    def _halve(self, atoms: int) -> None:
        self.atoms = max(1, atoms // 2)
        log.warning(
            "memory does not suffice to label %d atoms together: from now on it is at most %d", atoms, self.atoms
        )


def attempt(teacher: Teacher, batch: list[tuple[Frame, np.ndarray]]) -> list[TeacherLabels] | None:
    """The labels of a batch, or None where memory did not suffice; what the attempt held is free then."""
    try:
        return teacher.label([frame for frame, _ in batch], [ids for _, ids in batch])
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not (
            isinstance(error, torch.OutOfMemoryError | MemoryError) or any(part in str(error) for part in ALLOCATORS)
        ):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def fitting(frames: list[Frame], atoms: int) -> int:
    """How many of the first frames have together at most `atoms` atoms; at least one."""
    sizes = np.cumsum([len(frame) for frame in frames])
    return max(1, int(np.searchsorted(sizes, atoms, side="right")))


def probe(teacher: Teacher, sample: list[tuple[Frame, np.ndarray]]) -> int:
    """How many atoms to label together: one structure, two, four, … of the sample, while that is faster for each.

    It ends as well where twice the memory is not there. Each structure gets a few of its rows.
    """
    small = [(frame, ids[:PROBE_ROWS]) for frame, ids in sample]
    chosen, best, tried = len(small[0][0]), 0.0, []
    before = peak_memory()
    attempt(teacher, small[:1])  # the first call of a model is slower
    count = 1
    while count <= len(small):
        started = time.perf_counter()
        if attempt(teacher, small[:count]) is None:
            break
        rate = count / (time.perf_counter() - started)
        atoms = sum(len(frame) for frame, _ in small[:count])
        tried.append(f"{rate:.3g}/s with {atoms} atoms")
        if rate < GAIN * best:
            break
        chosen, best = atoms, rate
        if 2 * (peak_memory() - before) > free_memory():
            break
        count *= 2
    log.info(
        "%s labels up to %d atoms together: structures with %d rows %s",
        teacher.identity.name, chosen, PROBE_ROWS, ", ".join(tried),
    )  # fmt: skip
    return chosen


def peak_memory() -> int:
    """Bytes: the most that was in use so far, of the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def free_memory() -> float:
    """Bytes that may still be taken; without limit where the system does not say."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    with suppress(ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float("inf")
