"""Many frames, some at a time."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

__all__ = ["in_parts"]


def in_parts(data: Any, size: int = 65_536) -> Iterator[tuple[Tensor, ...]]:
    """Positions of `Frames`, or of both ends of `Pairs`, of so many at a time: one tensor ``(n, ...)``, or two.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> frames = Frames.from_numpy([[0.0], [1.0], [2.0]], unit="reduced", dt=1.0)
    >>> [len(x) for (x,) in in_parts(frames, 2)], [len(later) for now, later in in_parts(frames.lagged(1.0))]
    ([2, 1], [2])
    """
    for start in range(0, len(data), size):
        gathered = data.gather(slice(start, start + size))
        yield tuple(torch.as_tensor(x) for x in (gathered if isinstance(gathered, tuple) else (gathered,)))
