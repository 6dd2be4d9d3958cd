"""How many structures a teacher labels together: a given or a probed number, halved when memory runs out."""

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

PROBE_ROWS = 2  # Hessian rows of each structure in the probe
GAIN = 1.05  # a batch of twice the size is chosen only if its rate is higher by this factor
NO_MEMORY = "there is not enough memory for it"
ALLOCATORS = ("can't allocate memory", "not enough memory", "out of memory")  # in RuntimeErrors of torch's allocators


class Batching:
    """Passes structures to a teacher in batches of the size that is fastest and fits into memory.

    atoms: the largest number of atoms in a batch (a larger structure is a batch of its own); None before the probe.
    """

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self.atoms = teacher.batch_atoms

    def label(self, frames: list[Frame], directions: list[np.ndarray]) -> list[TeacherLabels | str]:
        """The labels of each structure, or the reason why it has none; see `Teacher.label`."""
        results: dict[int, TeacherLabels | str] = {}
        # structures with equal numbers of rows share backward passes
        waiting = sorted(range(len(frames)), key=lambda i: (len(directions[i]), len(frames[i])))
        if self.atoms is None and len(frames) > 1:
            middle = len(waiting) // 2
            typical_first = [*waiting[middle:], *reversed(waiting[:middle])]
            self.atoms = probe(self.teacher, [(frames[i], directions[i]) for i in typical_first])
        while waiting:
            count = batch_length([frames[i] for i in waiting], self.atoms or 0)
            batch = [(frames[i], directions[i]) for i in waiting[:count]]
            labels = attempt(self.teacher, batch)
            if labels is None and count > 1:
                self._halve(sum(len(frame) for frame, _ in batch))
                continue
            results.update(zip(waiting[:count], [NO_MEMORY] if labels is None else labels, strict=True))
            waiting = waiting[count:]
        return [results[i] for i in range(len(frames))]

    def _halve(self, atoms: int) -> None:
        self.atoms = max(1, atoms // 2)
        log.warning(
            "there is not enough memory to label %d atoms together: the limit is now %d atoms", atoms, self.atoms
        )


def attempt(teacher: Teacher, batch: list[tuple[Frame, np.ndarray]]) -> list[TeacherLabels] | None:
    """The labels of a batch, or None if there was not enough memory; the memory of the attempt is freed then."""
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


def batch_length(frames: list[Frame], atoms: int) -> int:
    """The number of structures, from the first on, that have at most `atoms` atoms together; at least one."""
    sizes = np.cumsum([len(frame) for frame in frames])
    return max(1, int(np.searchsorted(sizes, atoms, side="right")))


def probe(teacher: Teacher, sample: list[tuple[Frame, np.ndarray]]) -> int:
    """The number of atoms in the fastest batch: 1, 2, 4, … structures of the sample, until the rate stops rising.

    The probe stops earlier if the next batch might not fit into memory. Each structure gets only a few of its rows.
    """
    small = [(frame, ids[:PROBE_ROWS]) for frame, ids in sample]
    chosen, best, trials = len(small[0][0]), 0.0, []
    before = peak_memory()
    attempt(teacher, small[:1])  # warm-up: the first call of a model is slower
    count = 1
    while count <= len(small):
        started = time.perf_counter()
        if attempt(teacher, small[:count]) is None:
            break
        rate = count / (time.perf_counter() - started)
        atoms = sum(len(frame) for frame, _ in small[:count])
        trials.append(f"{rate:.3g}/s with {atoms} atoms")
        if rate < GAIN * best:
            break
        chosen, best = atoms, rate
        if 2 * (peak_memory() - before) > free_memory():
            break
        count *= 2
    log.info(
        "%s labels up to %d atoms together; rates of structures with %d rows: %s",
        teacher.identity.name, chosen, PROBE_ROWS, ", ".join(trials),
    )  # fmt: skip
    return chosen


def peak_memory() -> int:
    """Peak memory of this process in bytes, that of the GPU if there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def free_memory() -> float:
    """Free memory in bytes, that of the GPU if there is one; infinite if the system does not report it."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    with suppress(ValueError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float("inf")
