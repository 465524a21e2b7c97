"""The progress bar of a fit."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["FitProgress"]


class FitProgress:
    """A bar with the loss beside it, shown in a terminal or when asked for.

    Parameters
    ----------
    steps, done : int
        All steps, and those done before.
    show : bool or None
        None: only where standard error is a terminal.
    """

    def __init__(self, steps: int, done: int, show: bool | None):
        self._bar: Any = None
        self._task: Any = None
        if show if show is not None else sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("fit"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=steps, completed=done)

    def __enter__(self) -> FitProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, row: dict[str, float]) -> None:
        """Show where the fit is; `row` is the newest line of the loss log."""
        if self._bar is not None:
            text = "  ".join(f"{k} {v:.3f}" for k, v in row.items() if k != "step")
            self._bar.update(self._task, completed=step, description=text)
