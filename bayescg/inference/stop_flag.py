"""Signals that ask a fit to stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopFlag", "stop_requested"]


class StopFlag:
    """Name of the signal that asked for a stop, or the empty string."""

    signal = ""


@contextmanager
def stop_requested() -> Iterator[StopFlag]:
    """Inside, SIGINT and SIGTERM set a flag instead of ending the process; a second one acts as usual."""
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _: FrameType | None) -> None:
        flag.signal = signal.Signals(number).name
        signal.signal(number, previous[signal.Signals(number)])

    for s in previous:
        signal.signal(s, handle)
    try:
        yield flag
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)
