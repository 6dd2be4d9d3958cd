"""What is done about labels, by training and by the label command: made, counted, verified, merged, estimated."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from jointkd.errors import ConfigError, CorruptShard, UserError
from jointkd.labelling.costs import label_bytes, labelling_time, rounding, volume
from jointkd.labelling.loop import done, duration, frequency, label
from jointkd.labelling.plan import (
    Wanted,
    directories,
    expected_teacher,
    labels_there,
    places,
    settings_of,
    wanted_labels,
)
from jointkd.labelling.remote import built_teacher, have_done, load_teacher
from jointkd.labels.checks import counted
from jointkd.labels.maintenance import damaged_shards, merge, set_aside, status
from jointkd.labels.records import TeacherIdentity
from jointkd.labels.store import LabelStore

if TYPE_CHECKING:
    from jointkd.data.datamodule import DistillationData  # lightning takes seconds to import, and labels need none

log = logging.getLogger(__name__)


def make_labels(
    config: DictConfig, data: "DistillationData", atomic_energies: bool = False, workers: int = 1
) -> LabelStore:
    """The store of the configured labels, complete. The teacher is loaded only where labels are missing.

    atomic_energies: whether they are needed. Raises ConfigError where they are and the teacher has none, before
    anything is labelled.
    """
    if not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"label.workers={workers} is no number of processes", "give at least 1")
    wanted = wanted_labels(config, data)
    frames = list(wanted.frames.values())
    store = labels_there(config, wanted)
    if store is not None and all(done(store, frame) for frame in frames):
        check_atomic_energies(store.teacher, atomic_energies, config)
        return store
    return produce(config, wanted, atomic_energies, workers)


def produce(config: DictConfig, wanted: Wanted, atomic_energies: bool, workers: int) -> LabelStore:
    """Label what is missing, in this environment or in the one that has the teacher's package."""
    teacher = load_teacher(config)
    if isinstance(teacher, Path):
        have_done(teacher, job_of(config, wanted, atomic_energies, workers))
        return LabelStore.open(wanted.path)
    check_atomic_energies(teacher.identity, atomic_energies, config)
    store = LabelStore.create(wanted.path, teacher.identity, wanted.settings)
    if teacher.identity.dtype == "float32":
        log.info("%s", rounding(teacher, built_teacher(in_float64(config)), list(wanted.frames.values())))
    with helpers(config, wanted, workers):
        label(list(wanted.frames.values()), wanted.row_ids, teacher, store, config.label.shard_size)
    return store


def in_float64(config: DictConfig) -> DictConfig:
    """The same configuration with a teacher in double precision."""
    return OmegaConf.merge(config, {"teacher": {"dtype": "float64"}})  # type: ignore[return-value]


class Job(NamedTuple):
    """What another interpreter is asked to do."""

    config: dict[str, Any]
    wanted: Wanted
    atomic_energies: bool
    workers: int
    dry_run: bool


def job_of(
    config: DictConfig, wanted: Wanted, atomic_energies: bool = False, workers: int = 1, dry_run: bool = False
) -> Job:
    """The job as plain values. The other interpreter builds the teacher itself, so it is not told of `python`."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return Job({**plain, "teacher": {**plain["teacher"], "python": None}}, wanted, atomic_energies, workers, dry_run)


def carry_out(job: Job) -> None:
    """In the other interpreter: label, or say what labels cost."""
    config = OmegaConf.create(job.config)
    if job.dry_run:
        log.info("%s", estimate(config, job.wanted))
    else:
        produce(config, job.wanted, job.atomic_energies, job.workers)


def check_atomic_energies(teacher: TeacherIdentity, needed: bool, config: DictConfig) -> None:
    if needed and not teacher.atomic_energies:
        raise ConfigError(
            f"method={config.method.name} needs atomic energies, and teacher {teacher.name} gives none",
            "choose method=hessian, or another teacher",
        )


def look_after(config: DictConfig) -> bool:
    """Do what label.verify and label.merge ask for; whether they asked for anything.

    Raises CorruptShard where files were damaged (they are set aside), LabelMismatch, StorageError.
    """
    if config.label.verify:
        for path in places(config):
            verify(path)
    elif config.label.merge is not None:
        other = LabelStore.open(Path(config.label.merge))
        other.check({**expected_teacher(config.teacher), **settings_of(config)})
        store = LabelStore.create(next(directories(config)), other.teacher, other.settings)
        gained = merge(store, other)
        log.info("%d structures came from %s; %d are labelled now: %s", gained, other.path, len(store), store.path)
    else:
        return False
    return True


def verify(path: Path) -> None:
    """Say that a directory of labels is whole, or set its damaged files aside and raise CorruptShard."""
    damaged = damaged_shards(path)
    if damaged:
        folder = set_aside(path, list(damaged))
        names = ", ".join(f"{shard.name} ({reason})" for shard, reason in damaged.items())
        raise CorruptShard(
            f"{len(damaged)} files of labels in {path} were damaged and are now in {folder}: {names}",
            "run the same command without label.verify to make their labels again",
        )
    store = LabelStore.open(path)
    log.info("%d files with %d structures are whole: %s", len(store.shards()), len(store), path)


def status_of(config: DictConfig, data: "DistillationData") -> str:
    """How far the labels of a configuration are, in a line; the teacher is not loaded."""
    wanted = wanted_labels(config, data)
    store = labels_there(config, wanted)
    if store is None:
        return f"no labels yet: 0 done, {len(wanted.frames)} left, 0 failed: {wanted.path}"
    found = status(store, wanted.frames)
    parts = [f"{found.done} done", f"{found.left} left"]
    parts.append(f"{len(found.failed)} failed" + (f" ({counted(found.failed.values())})" if found.failed else ""))
    if found.rate is not None:
        parts.append(frequency(found.rate))
        if found.left:
            parts.append(f"{duration(found.left / found.rate)} at that rate")
    if found.since is not None:
        parts.append(f"the last were written {duration(found.since)} ago")
    return f"labels of {store.teacher.name}: {', '.join(parts)}: {store.path}"


def dry_run(config: DictConfig, data: "DistillationData") -> str:
    """How many structures, rows, gigabytes and hours the labels of a configuration are, in a line.

    The time is that of the missing ones, judged by a few that are timed.
    """
    return estimate(config, wanted_labels(config, data))


def estimate(config: DictConfig, wanted: Wanted) -> str:
    """What `dry_run` says of wanted labels."""
    frames = list(wanted.frames.values())
    rows = sum(len(ids) for ids in wanted.row_ids.values())
    members = len(config.teacher.get("checkpoints") or ())
    size = sum(
        label_bytes(frame, len(wanted.row_ids[frame.key]), config.teacher.dtype, spread=members > 1) for frame in frames
    )
    work = f"{len(frames)} structures, {rows} Hessian rows, {volume(size)} in {wanted.path}"
    store = labels_there(config, wanted)
    left = [frame for frame in frames if store is None or not done(store, frame)]
    if not left:
        return f"{work}; all are labelled"
    teacher = load_teacher(config)
    if isinstance(teacher, Path):
        have_done(teacher, job_of(config, wanted, dry_run=True))
        return f"timed in {teacher}"
    seconds, based = labelling_time(left, wanted.row_ids, teacher)
    time = duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"
    return f"{work}; {len(left)} are left and take one process about {time} ({based})"


@contextmanager
def helpers(config: DictConfig, wanted: Wanted, workers: int) -> Iterator[None]:
    """While the block labels, so do `workers` − 1 other processes, which share its work by claims.

    GPUs are dealt out in turn, threads shared equally. A helper that fails is told of, and the others do its work.
    """
    context = multiprocessing.get_context("spawn")
    plain = OmegaConf.to_container(config, resolve=True) if workers > 1 else None
    threads = torch.get_num_threads()
    share = max(1, threads // workers)
    processes = [
        context.Process(target=help_label, args=(plain, wanted, number, share), daemon=True)
        for number in range(1, workers)
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


def help_label(plain: dict[str, Any], wanted: Wanted, number: int, threads: int) -> None:
    """What a helper does: load the teacher, and label what no other process has claimed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    config = OmegaConf.create(plain)
    gpus = torch.cuda.device_count()
    if gpus > 1 and "device" in config.teacher and config.teacher.device is None:
        config.teacher.device = f"cuda:{number % gpus}"
    try:
        teacher = built_teacher(config)
        store = LabelStore.create(wanted.path, teacher.identity, wanted.settings)
        label(list(wanted.frames.values()), wanted.row_ids, teacher, store, config.label.shard_size, silent=True)
    except UserError as error:
        print(f"helper {number} of label.workers: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def end_with_parent() -> None:
    """In a helper: end it when the first process is no more, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
