"""Several processes label into one store, and some are killed meanwhile."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from jointkd.labelling.loop import label
from jointkd.labels.records import TeacherLabels
from jointkd.labels.store import LabelStore
from jointkd.structures.frame import Frame
from tests.processes import wait_until
from tests.teachers import IDENTITY, SETTINGS, NumberTeacher, calls_in, frames_of, rows_of

SHARD = 3
PATIENCE = 300  # s; only what never ends takes that long


@pytest.fixture(scope="module")
def processes():
    """Processes that start with jointkd imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jointkd.labelling.loop", __name__])
    return context


def work(path: Path, calls: Path, count: int, seconds: float, shard: int = SHARD) -> None:
    frames = frames_of(count)
    store = LabelStore.create(path, IDENTITY, SETTINGS)
    label(frames, rows_of(frames), NumberTeacher(seconds, calls), store, shard)


class Stuck(NumberTeacher):
    """Does not come back from a structure after `enough` ones, unless a signal ends it."""

    def __init__(self, enough: int, calls: Path, seconds: float) -> None:
        super().__init__(seconds, calls)
        self.enough = enough

    def _one(self, frame: Frame, ids: np.ndarray) -> TeacherLabels:
        labels = super()._one(frame, ids)
        if len(calls_in(self.calls)) > self.enough:
            time.sleep(2 * PATIENCE)
        return labels


def work_until_stuck(path: Path, calls: Path, count: int, enough: int, seconds: float = 0.0) -> None:
    """Label with a teacher that gets stuck; Ctrl-C arrives also where the tests, in the background, ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    frames = frames_of(count)
    label(frames, rows_of(frames), Stuck(enough, calls, seconds), LabelStore.create(path, IDENTITY, SETTINGS), SHARD)


def hold(path: Path, ready) -> None:
    with LabelStore.open(path).claim("chunk") as mine:
        ready.send(mine)
        time.sleep(PATIENCE)


def keys_on_disk(path: Path) -> list[str]:
    """The keys of the structures in all shards, read from the files."""
    keys = []
    for shard in (path / "shards").glob("*.safetensors"):
        with safe_open(shard, framework="numpy") as file:
            keys += [name.removesuffix("/energy") for name in file.keys() if name.endswith("/energy")]  # noqa: SIM118
    return keys


MOST = 11  # structures before a kill


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_workers_that_are_killed_again_and_again_label_every_structure_exactly_once(tmp_path, processes, kills):
    rng = np.random.default_rng(kills)
    path, calls = tmp_path / "labels", tmp_path / "calls"
    count = (kills + 1) * (MOST + SHARD + 2)  # some are left at every kill, however late it comes

    def start(enough: int) -> list:
        arguments = (path, calls, count, enough + SHARD, 0.004)
        workers = [processes.Process(target=work_until_stuck, args=arguments) for _ in range(2)]
        for worker in workers:
            worker.start()
        return workers

    killed = 0
    for _ in range(kills):
        enough = len(calls_in(calls)) + int(rng.integers(1, MOST + 1))
        workers = start(enough)
        wait_until(lambda n=enough: len(calls_in(calls)) >= n)
        time.sleep(rng.uniform(0, 0.01))
        for worker in workers:
            worker.kill()
            worker.join()
            killed += worker.exitcode == -signal.SIGKILL
    assert killed == 2 * kills

    (path / "shards" / ".half.safetensors.1.tmp").write_bytes(b"half a shard")
    for worker in (workers := start(10 * count)):
        worker.join(PATIENCE)
    assert [worker.exitcode for worker in workers] == [0, 0]

    assert sorted(keys_on_disk(path)) == sorted(frame.key for frame in frames_of(count))
    assert len(calls_in(calls)) <= count + 2 * SHARD * kills  # a killed process loses at most one chunk
    LabelStore.open(path).verify()
    work(tmp_path / "uninterrupted", tmp_path / "other_calls", count, 0, shard=7)
    assert LabelStore.open(path).content_hash() == LabelStore.open(tmp_path / "uninterrupted").content_hash()


def test_several_processes_share_the_work_without_repeating_any(tmp_path, processes):
    workers = [
        processes.Process(target=work, args=(tmp_path / "labels", tmp_path / "calls", 60, 0.004)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert sorted(calls_in(tmp_path / "calls")) == sorted(frame.key for frame in frames_of(60))
    assert sorted(keys_on_disk(tmp_path / "labels")) == sorted(frame.key for frame in frames_of(60))


def test_the_claim_of_a_killed_process_is_released(tmp_path, processes):
    store = LabelStore.create(tmp_path, IDENTITY, SETTINGS)
    receiver, sender = processes.Pipe(duplex=False)
    holder = processes.Process(target=hold, args=(tmp_path, sender))
    holder.start()
    assert receiver.recv()
    with store.claim("chunk") as mine:
        assert not mine
    holder.kill()
    holder.join()
    with store.claim("chunk") as mine:
        assert mine


def test_a_process_waits_while_others_label_all_remaining_chunks(tmp_path, processes):
    path, calls, own_calls = tmp_path / "labels", tmp_path / "calls", tmp_path / "own_calls"
    other = processes.Process(target=work, args=(path, calls, 10, 0.1, 10))
    other.start()
    wait_until(lambda: bool(calls_in(calls)))
    work(path, own_calls, 10, 0, 10)
    assert len(keys_on_disk(path)) == 10
    assert not calls_in(own_calls)
    other.join(PATIENCE)


def test_a_process_takes_over_the_chunk_of_a_killed_one(tmp_path, processes):
    path, calls, own_calls = tmp_path / "labels", tmp_path / "calls", tmp_path / "own_calls"
    other = processes.Process(target=work, args=(path, calls, 10, PATIENCE, 10))
    other.start()
    wait_until(lambda: bool(calls_in(calls)))
    heir = processes.Process(target=work, args=(path, own_calls, 10, 0, 10))
    heir.start()
    time.sleep(0.2)
    assert not calls_in(own_calls)
    other.kill()
    heir.join(PATIENCE)
    assert len(calls_in(own_calls)) == len(keys_on_disk(path)) == 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_keeps_what_was_committed_and_the_next_run_repeats_none_of_it(
    tmp_path, processes, number
):
    path, calls, later_calls = tmp_path / "labels", tmp_path / "calls", tmp_path / "later_calls"
    worker = processes.Process(target=work_until_stuck, args=(path, calls, 30, 2 * SHARD))
    worker.start()
    wait_until(lambda: len(calls_in(calls)) > 2 * SHARD)
    os.kill(worker.pid, number)
    worker.join(PATIENCE)
    # it left by itself: one that is killed has a negative code, and one that is stuck has none
    assert worker.exitcode == {signal.SIGINT: 1, signal.SIGTERM: 128 + signal.SIGTERM}[number]
    committed = keys_on_disk(path)
    assert len(committed) == 2 * SHARD
    assert not list((path / "shards").glob(".*"))
    work(path, later_calls, 30, 0)
    assert sorted(keys_on_disk(path)) == sorted(frame.key for frame in frames_of(30))
    assert not set(calls_in(later_calls)) & set(committed)


def test_after_labelling_the_previous_handler_of_sigterm_is_restored(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    work(tmp_path / "labels", tmp_path / "calls", 3, 0)
    assert signal.getsignal(signal.SIGTERM) is before
