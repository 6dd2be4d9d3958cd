"""The progress of a long task: a bar on a terminal, otherwise lines in the log."""

import logging
import time
from collections.abc import Callable

from tqdm import tqdm

log = logging.getLogger(__name__)

QUIET = 300  # s; while a task runs, the log gets a line at least this often


class Progress:
    """A progress bar; where it cannot be shown, a log line for every tenth of the task and after `QUIET` seconds."""

    def __init__(self, task: str, done: int, total: int | None, unit: str = "it", silent: bool = False) -> None:
        """done, total: in `unit`, before this run and in all (None: unknown); silent: neither bar nor lines."""
        self.total, self.silent = total, silent
        self.bar = tqdm(
            total=total, initial=done, desc=task, unit=unit, unit_scale=unit == "B", disable=True if silent else None
        )
        self.last_tenth, self.last_line = self._tenth(done), time.monotonic()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, done: int, line: Callable[[], str]) -> None:
        """Move the bar to `done`, or log `line()` if a line is due."""
        self.bar.update(done - self.bar.n)
        if self.silent or not self.bar.disable:
            return
        now, tenth = time.monotonic(), self._tenth(done)
        if tenth > self.last_tenth or now - self.last_line > QUIET:
            log.info("%s", line())
            self.last_tenth, self.last_line = tenth, now

    def _tenth(self, done: int) -> int:
        return 10 * done // self.total if self.total else 0


def format_time(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
