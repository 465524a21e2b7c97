"""Signals, locks and processes that end: whatever stops work, or keeps two from doing the same."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bayescg.errors import Interrupted, OutputError

__all__ = ["StopFlag", "claimed", "end_with", "stop_requested", "stoppable", "unbroken"]


class StopFlag:
    """Name of the signal that asked for a stop, or the empty string; its number, of another process's SIGTERM."""

    signal, number = "", int(signal.SIGTERM)


@contextmanager
def stop_requested() -> Iterator[StopFlag]:
    """Inside, SIGINT and SIGTERM set a flag instead of ending the process; a second one acts as usual."""
    flag = StopFlag()

    def stop(received: signal.Signals) -> None:
        flag.signal, flag.number = received.name, int(received)
        signal.signal(received, before[received])

    with _handled(stop) as before:
        yield flag


@contextmanager
def stoppable(advice: Callable[[], str]) -> Iterator[None]:
    """SIGINT and SIGTERM become `Interrupted`, with advice on how to go on."""
    signals: list[signal.Signals] = []

    def stop(received: signal.Signals) -> None:
        signals.append(received)
        raise KeyboardInterrupt

    try:
        with _handled(stop):
            yield
        if signals:  # whatever it cut short made nothing of it
            raise KeyboardInterrupt
    except BaseException as error:
        # an import that a signal cuts short may end in any error
        if not (signals or isinstance(error, KeyboardInterrupt | Interrupted)):
            raise
        number = signals[0] if signals else getattr(error, "number", signal.SIGINT)
        reason = f"stopped by {signal.Signals(number).name}"
        if isinstance(error, Interrupted) and not signals:  # the fit has its own handlers, to end its step first
            reason = str(error)
        raise Interrupted(f"{reason}.\n{advice()}", int(number)) from None


@contextmanager
def unbroken() -> Iterator[None]:
    """SIGINT and SIGTERM wait until this is over, for compiled code that crashes where Python is cut short in it."""
    try:
        with stop_requested() as flag:
            yield
    finally:
        if flag.signal:
            signal.raise_signal(flag.number)


@contextmanager
def claimed(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold a directory for this process; the system lets go of it however the process ends. Windows has no such lock.

    Parameters
    ----------
    path : Path
        Made when absent.
    patience : float
        Seconds to wait for another process that holds it.

    Raises
    ------
    OutputError
        It cannot be written, or another process holds it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("a+")
    except OSError as error:
        raise OutputError(
            f"cannot use {path} as output directory: {error.strerror}; choose another directory (out=, --out)"
        ) from error
    with lock:
        deadline = time.monotonic() + patience
        while not _locked(lock):
            if time.monotonic() >= deadline:
                lock.seek(0)
                raise OutputError(
                    f"{path} is in use by process {lock.read().strip() or 'unknown'}; wait until it ends, stop it, or "
                    "choose another directory (out=, --out)"
                )
            time.sleep(0.1)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def end_with(parent: int, last: Callable[[], Any]) -> None:
    """Call `last`, which ends this process, when the process `parent` that started it is no more."""

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        last()

    threading.Thread(target=follow, daemon=True).start()


@contextmanager
def _handled(stop: Callable[[signal.Signals], None]) -> Iterator[dict[signal.Signals, Any]]:
    """Inside, `stop` handles SIGINT and SIGTERM; yields the handlers before. Only a main thread has any."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for s in before:
        signal.signal(s, lambda number, _: stop(signal.Signals(number)))
    try:
        yield before
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def _locked(lock: IO[str]) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
