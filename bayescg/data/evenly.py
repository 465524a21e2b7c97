"""Some of many frames."""

from collections.abc import Sized

import numpy as np

__all__ = ["evenly"]


def evenly(frames: Sized, most: int = 20_000) -> np.ndarray:
    """At most so many frames, by number, evenly spaced from the first to the last: ``(n,)``, increasing.

    Examples
    --------
    >>> evenly(range(10), 4).tolist(), evenly(range(3), 4).tolist()
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.linspace(0, len(frames) - 1, min(len(frames), most)).astype(np.int64)
