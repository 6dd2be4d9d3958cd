"""Labelling jobs: make the labels of a plan, or estimate their cost, in this environment or in another one."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from jointkd.errors import ConfigError, UserError
from jointkd.labelling.batching import NO_MEMORY
from jointkd.labelling.costs import compare_precisions, label_bytes, labelling_time
from jointkd.labelling.formats import format_bytes
from jointkd.labelling.loop import label
from jointkd.labelling.plan import LabelPlan
from jointkd.labelling.remote import load_teacher, run_remote
from jointkd.labels.directions import are_probes
from jointkd.labels.records import TeacherIdentity
from jointkd.labels.store import LabelStore
from jointkd.progress import format_time
from jointkd.teachers.base import check_elements
from jointkd.teachers.charges import check_charges

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A task for this environment or for another one."""

    plan: LabelPlan
    needs_atomic_energies: str | None = None  # the option that needs them, such as `method=joint`
    workers: int = 1  # number of processes that share the work
    estimate: bool = False  # estimate the cost of the labels instead of making them
    retry: bool = False  # try structures again for which memory did not suffice

    def __post_init__(self) -> None:
        if not isinstance(self.workers, int) or self.workers < 1:
            raise ConfigError(f"label.workers={self.workers} must be a positive integer", "give at least one process")

    def carry_out(self) -> None:
        """Make the labels, or log their estimated cost."""
        if self.estimate:
            log.info("%s", estimate(self.plan))
        else:
            produce(self)


def make_labels(
    plan: LabelPlan, needs_atomic_energies: str | None = None, workers: int = 1, retry: bool = False
) -> LabelStore:
    """The complete label store of a plan. The teacher is built only if labels are missing.

    retry: try structures again for which memory did not suffice. Raises ConfigError before labelling if atomic energies
    are needed and the teacher has none.
    """
    job = Job(plan, needs_atomic_energies, workers, retry=retry)
    store = plan.open_store()
    if store is not None and retry:
        store.forget(NO_MEMORY)
    if store is not None and all(store.is_done(key) for key in plan.frames):
        check_atomic_energies(store.teacher, needs_atomic_energies)
        return store
    return produce(job)


def produce(job: Job) -> LabelStore:
    """Make the missing labels, in this environment or in the one that has the teacher's package."""
    plan = job.plan
    teacher = load_teacher(plan.teacher)
    if isinstance(teacher, Path):
        run_remote(teacher, for_another_environment(job))
        return LabelStore.open(plan.path)
    check_atomic_energies(teacher.identity, job.needs_atomic_energies)
    store = LabelStore.create(plan.path, teacher.identity, plan.options.settings)
    if job.retry:
        store.forget(NO_MEMORY)
    frames = list(plan.frames.values())
    if teacher.identity.dtype == "float32":
        log.info("%s", compare_precisions(teacher, plan.teacher.in_dtype("float64").build(), frames))
    with helpers(plan, job.workers):
        label(frames, plan.directions, teacher, store, plan.options.shard_size)
    return store


def for_another_environment(job: Job) -> Job:
    """The same job for the other interpreter, which is to build the teacher itself."""
    place = replace(job.plan.place, teacher=replace(job.plan.teacher, python=None))
    return replace(job, plan=replace(job.plan, place=place))


def check_atomic_energies(teacher: TeacherIdentity, needed_by: str | None) -> None:
    """Raise ConfigError if the option `needed_by` needs atomic energies and the teacher has none."""
    if needed_by is not None and not teacher.atomic_energies:
        raise ConfigError(
            f"{needed_by} needs atomic energies, and teacher {teacher.name} gives none",
            "choose method=hessian, or another teacher",
        )


def estimate(plan: LabelPlan) -> str:
    """The number of structures, rows and probes, the size and the time of the labels of a plan, in one line.

    The time is that of the missing labels, estimated from a few structures.
    """
    frames = list(plan.frames.values())
    probes = sum(len(each) for each in plan.directions.values() if are_probes(each))
    rows = sum(map(len, plan.directions.values())) - probes
    size = sum(
        label_bytes(frame, plan.directions[frame.key], plan.teacher.dtype, spread=plan.teacher.members > 1)
        for frame in frames
    )
    along = f"{rows} Hessian rows" + (f" and {probes} probes" if probes else "")
    totals = f"{len(frames)} structures, {along}, {format_bytes(size)} in {plan.path}"
    store = plan.open_store()
    left = [frame for frame in frames if store is None or not store.is_done(frame.key)]
    if not left:
        return f"{totals}; all are labelled"
    teacher = load_teacher(plan.teacher)
    if isinstance(teacher, Path):
        run_remote(teacher, for_another_environment(Job(plan, estimate=True)))
        return f"timed in {teacher}"
    check_elements(left, teacher.identity)
    check_charges(left, teacher)
    seconds, basis = labelling_time(left, plan.directions, teacher)
    time = format_time(seconds) if seconds >= 10 else f"{seconds:.2g} s"
    return f"{totals}; {len(left)} are left and take one process about {time} ({basis})"


@contextmanager
def helpers(plan: LabelPlan, workers: int) -> Iterator[None]:
    """Within the block, `workers` − 1 other processes label as well; they share the work by claims.

    Processes take the GPUs in turn and share the threads equally. The failure of a helper is reported, and the other
    processes do its work.
    """
    context = multiprocessing.get_context("spawn")
    threads = torch.get_num_threads()
    share = max(1, threads // workers)
    processes = [
        context.Process(target=help_label, args=(plan, number, share), daemon=True) for number in range(1, workers)
    ]
    for process in processes:
        process.start()
    torch.set_num_threads(share)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for process in processes:
            process.terminate()
            process.join()


def help_label(plan: LabelPlan, number: int, threads: int) -> None:
    """The work of a helper process: build the teacher, and label the chunks that no other process has claimed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first process ends its helpers
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    gpus = torch.cuda.device_count()
    spec = plan.teacher.on_device(f"cuda:{number % gpus}") if gpus > 1 else plan.teacher
    try:
        teacher = spec.build()
        store = LabelStore.create(plan.path, teacher.identity, plan.options.settings)
        label(list(plan.frames.values()), plan.directions, teacher, store, plan.options.shard_size, silent=True)
    except UserError as error:
        print(f"helper {number} of label.workers: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def end_with_parent() -> None:
    """Terminate this helper when the first process has ended, for whatever reason."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
