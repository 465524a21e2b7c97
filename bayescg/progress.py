"""The progress of whatever takes long, a fit or a simulation: a bar in a terminal, now and then a line in a log."""

import sys
import time
from datetime import timedelta
from typing import Any, Self

__all__ = ["Bar"]

_EVERY = 0.1  # seconds
_LINE_AFTER, _LINE_EVERY = 20.0, 60.0  # seconds


class Bar:
    """A bar with a remark beside it; where standard error is no terminal, a line a minute with the time left.

    Parameters
    ----------
    name : str
        Of what is under way.
    total, done : float
        All there is to do, and what was done before.
    show : bool or None
        None: a bar in a terminal, lines elsewhere; False: neither.
    """

    def __init__(self, name: str, total: float, done: float, show: bool | None):
        self._bar: Any = None
        self._task: Any = None
        self._name, self._total, self._first = name, total, done
        self._began, self._shown = time.monotonic(), 0.0
        self._latest: dict[str, Any] = {}
        self._lines = show is None and not sys.stderr.isatty()
        self._line_due = self._began + _LINE_AFTER
        if show if show is not None else sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn(name), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=total, completed=done)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.update(self._task, **self._latest)
            self._bar.stop()

    def update(self, done: float, remark: str) -> None:
        """Show how much is done, a few times a second at most; from any thread."""
        self._latest = {"completed": done, "description": remark}
        if self._bar is not None and time.monotonic() - self._shown > _EVERY:
            self._shown = time.monotonic()
            self._bar.update(self._task, **self._latest)
        if self._lines and time.monotonic() > self._line_due and done > self._first:
            now = time.monotonic()
            left = (now - self._began) * (self._total - done) / (done - self._first)
            print(f"{self._name}: {remark}  {timedelta(seconds=round(left))} left", file=sys.stderr, flush=True)
            self._line_due = now + _LINE_EVERY

    def then(self, remark: str) -> None:
        """Say what comes after all of it, of whatever has taken long enough for a line."""
        self._latest |= {"description": remark}
        if self._lines and time.monotonic() > self._began + _LINE_AFTER:
            print(f"{self._name}: {remark}", file=sys.stderr, flush=True)
