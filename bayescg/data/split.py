"""Contiguous blocks of frames, and which of them to hold out."""

import numpy as np

from bayescg.arguments import check_counts, check_numbers
from bayescg.errors import DataError

__all__ = ["beginnings", "blocks", "held_out", "spacing"]


def beginnings(trajectory: np.ndarray, times: np.ndarray, dt: float, time: float) -> np.ndarray:
    """Mask of the frames of the first `time` of every trajectory, (n,).

    Raises
    ------
    DataError
        No trajectory is that long.

    Examples
    --------
    >>> beginnings(np.zeros(4, int), np.arange(4.0), 1.0, 2.0)
    array([ True, True, False, False])
    """
    starts = np.r_[True, np.diff(trajectory) != 0]
    check_numbers(time=(time, "(0, inf)"))
    since = times - times[starts][np.cumsum(starts) - 1]
    available = since.max() + dt
    if time > available * (1 + 1e-6):
        raise DataError(f"asked for the first {time:g} ps; the longest trajectory covers {available:g} ps")
    return since < float(time) - 1e-3 * dt


def blocks(trajectory: np.ndarray, order: np.ndarray | None, length: int) -> np.ndarray:
    """Block ids, (n,); see :meth:`Frames.blocks`. A remainder is spread over the blocks of its run.

    Examples
    --------
    >>> blocks(np.zeros(7, int), None, 3)
    array([0, 0, 0, 0, 1, 1, 1])
    """
    check_numbers(length=(length, "[1, inf]"))
    new_run = np.diff(trajectory) != 0
    if order is not None:
        new_run |= np.diff(order) != spacing(order)
    starts = np.r_[0, np.flatnonzero(new_run) + 1]
    ids, used = np.empty(len(trajectory), dtype=np.int64), 0
    for start, end in zip(starts, np.r_[starts[1:], len(trajectory)], strict=True):
        count = max(1, round((end - start) / length))
        ids[start:end] = used + (np.arange(end - start) * count) // (end - start)
        used += count
    return ids


def spacing(order: np.ndarray) -> int:
    """How many places most frames are apart from the next: more than one where frames were left out evenly.

    Examples
    --------
    >>> spacing(np.array([0, 5, 10, 0, 5, 20, 25]))
    5
    """
    steps = np.diff(order[:1000])
    return int(np.median(steps[steps > 0])) if (steps > 0).any() else 1


def held_out(trajectory: np.ndarray, order: np.ndarray | None, count: int, test: float, seed: int) -> np.ndarray:
    """Mask (n,) of the frames to test on; see :meth:`Frames.split`."""
    check_numbers(test=(test, "(0, 1)"))
    check_counts(blocks=(count, 2), seed=(seed, 0))
    n = len(trajectory)
    ids = blocks(trajectory, order, max(1, n // count)) if order is not None else np.arange(n)
    sizes = np.bincount(ids)
    if len(sizes) < 2:
        raise DataError(f"{n} frame(s) are too few to split: at least two blocks are needed")
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    number = 1 + int(np.argmin(np.abs(np.cumsum(sizes[shuffled])[:-1] - float(test) * n)))
    selected = np.zeros(len(sizes), dtype=bool)
    selected[shuffled[:number]] = True
    return selected[ids]
