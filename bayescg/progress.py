"""The progress bar of whatever takes long: a fit, a simulation, many runs."""

import sys
import time
from typing import Any, Self

__all__ = ["Bar"]

_EVERY = 0.1  # seconds


class Bar:
    """A bar with a remark beside it, shown in a terminal or when asked for.

    Parameters
    ----------
    name : str
        Of what is under way.
    total, done : float
        All there is to do, and what was done before.
    show : bool or None
        None: only where standard error is a terminal.
    """

    def __init__(self, name: str, total: float, done: float, show: bool | None):
        self._bar: Any = None
        self._task: Any = None
        self._shown = 0.0
        self._latest: dict[str, Any] = {}
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
