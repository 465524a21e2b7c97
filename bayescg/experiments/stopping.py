"""Signals that stop a run, or many."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bayescg.errors import Interrupted

__all__ = ["stoppable"]


@contextmanager
def stoppable(advice: Callable[[], str]) -> Iterator[None]:
    """SIGINT and SIGTERM become `Interrupted`, with advice on how to go on."""
    received: list[signal.Signals] = []

    def stop(number: int, _: Any) -> None:
        received.append(signal.Signals(number))
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        yield
    except BaseException as error:
        # an import that a signal cuts short may end in any error
        if not (received or isinstance(error, KeyboardInterrupt | Interrupted)):
            raise
        # the fit has its own handlers, to end its step first
        number = signal.SIGTERM if "SIGTERM" in str(error) else received[0] if received else signal.SIGINT
        told = str(error) if isinstance(error, Interrupted) else f"stopped by {number.name}"
        stopped = Interrupted(f"{told}.\n{advice()}")
        stopped.number = int(number)
        raise stopped from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
