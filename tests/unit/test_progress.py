"""The lines of the log on the progress of a long task."""

import logging

import pytest

from jointkd.progress import QUIET, Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: `clock["now"]`, in s."""
    times = {"now": 0.0}
    monkeypatch.setattr("jointkd.progress.time.monotonic", lambda: times["now"])
    return times


def lines(progress: Progress, steps, caplog) -> list[str]:
    caplog.set_level(logging.INFO, "jointkd")
    for done in steps:
        progress.show(done, lambda done=done: f"{done} done")
    return caplog.messages


def test_every_tenth_gets_a_line(clock, caplog):
    assert lines(Progress("task", 5, 40), range(5, 41), caplog) == [f"{done} done" for done in range(8, 41, 4)]


def test_a_slow_task_gets_a_line_before_the_next_tenth(clock, caplog):
    progress = Progress("task", 0, 1000)
    assert lines(progress, [1], caplog) == []
    clock["now"] = QUIET + 1.0
    assert lines(progress, [2, 3], caplog) == ["2 done"]


def test_a_task_of_unknown_length_gets_lines_by_time(clock, caplog):
    progress = Progress("task", 0, None)
    clock["now"] = QUIET + 1.0
    assert lines(progress, [10, 20], caplog) == ["10 done"]


def test_a_silent_task_gets_no_line(clock, caplog):
    assert lines(Progress("task", 0, 10, silent=True), range(11), caplog) == []
