"""What every question about slow modes checks before anything is computed."""

from __future__ import annotations

from typing import Any

from bayescg.arguments import check_counts
from bayescg.data import Frames, Pairs
from bayescg.errors import DataError

__all__ = ["check_question"]


def check_question(frames: Any, **counts: tuple[Any, int]) -> None:
    """Refuse what are no frames, and numbers that are not whole or below their least.

    Raises
    ------
    DataError, ConfigError

    Examples
    --------
    >>> check_question([[0.0], [1.0]], modes=(3, 1))
    Traceback (most recent call last):
    bayescg.errors.DataError: frames are a list; give Frames: bcg.data.load(files, top=...), or ...
    """
    if isinstance(frames, Pairs):
        raise DataError(f"frames are pairs; give the frames themselves, and lag={frames.lag:g}")
    if not isinstance(frames, Frames):
        raise DataError(
            f"frames are a {type(frames).__name__}; give Frames: bcg.data.load(files, top=...), or "
            "bcg.data.Frames.from_numpy(x, unit=..., dt=...)"
        )
    check_counts(**counts)
