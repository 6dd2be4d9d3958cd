"""SIGTERM, by which a batch system ends a process, as an exception that cannot get lost."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)


@contextmanager
def leave_on_sigterm(silent: bool = False) -> Iterator[Callable[[], None]]:
    """Within the block SIGTERM ends the process in order, as Ctrl-C does, with status 143 instead of killing it.

    Yields a function to be called now and then, which exits if SIGTERM has come: while Python finalises an object it
    swallows exceptions, so none is raised there. It is called at the end of the block as well.
    """
    received: list[int] = []

    def leave_if_asked() -> None:
        if received:
            raise SystemExit(128 + received[0])

    def leave(number: int, frame: FrameType | None) -> None:
        if not silent and not received:
            log.warning("stopped by SIGTERM; the same command continues from the committed labels")
        received.append(number)
        if not finalises(frame):
            leave_if_asked()

    if threading.current_thread() is not threading.main_thread():  # Python handles signals only in the main thread
        yield leave_if_asked
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield leave_if_asked
        leave_if_asked()
    finally:
        signal.signal(signal.SIGTERM, before)


def finalises(frame: FrameType | None) -> bool:
    """Whether a frame is within the finaliser of an object."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
