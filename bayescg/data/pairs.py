"""Which frames lie a lag time apart, never across a trajectory's end."""

import numpy as np

from bayescg.arguments import check_numbers
from bayescg.data.store import ROWS
from bayescg.errors import DataError

__all__ = ["lagged_rows", "pairs_within", "steps_of"]


def lagged_rows(trajectory: np.ndarray, order: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all pairs of frames that lie `steps` places apart in one trajectory, each (pairs,).

    Examples
    --------
    >>> lagged_rows(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1]), 1)
    (array([0, 1, 3]), array([1, 2, 4]))
    """
    # one integer a frame, with gaps between trajectories that are wider than the lag; in place, for millions of frames
    key = np.zeros(len(order), dtype=np.int64)
    np.cumsum(trajectory[1:] != trajectory[:-1], out=key[1:])
    key *= int(order.max()) + steps + 1
    key += order
    if (key[1:] <= key[:-1]).any():
        raise DataError("frames are repeated or out of order: take lagged pairs before shuffling or resampling")
    now, later, count = np.empty(len(key), np.int64), np.empty(len(key), np.int64), 0
    for start in range(0, len(key), ROWS):
        target = key[start : start + ROWS] + steps
        place = np.minimum(np.searchsorted(key, target), len(key) - 1)
        there = np.flatnonzero(key[place] == target)
        now[count : count + len(there)], later[count : count + len(there)] = start + there, place[there]
        count += len(there)
    return now[:count], later[:count]


def pairs_within(i: np.ndarray, j: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (i, j) that lie in one unbroken stretch of the frames of `mask` (n,), as rows among these frames.

    Examples
    --------
    >>> pairs_within(np.arange(4), np.arange(1, 5), np.array([True, False, True, True, True]))
    (array([1, 2]), array([2, 3]))
    """
    stretch = np.r_[0, np.cumsum(mask[1:] != mask[:-1])]
    inside = (stretch[i] == stretch[j]) & mask[i]
    place = np.cumsum(mask) - 1
    return place[i[inside]], place[j[inside]]


def steps_of(lag: float, dt: float) -> int:
    """Frames in a lag time.

    Raises
    ------
    ConfigError
        `lag` is no finite number.
    DataError
        It is not a multiple of the time between frames; the message names the nearest.

    Examples
    --------
    >>> steps_of(0.6, 0.2)
    3
    """
    check_numbers(lag=(lag, "(-inf, inf)"))
    lag = float(lag)
    if lag > 1e12 * dt:
        raise DataError(f"no two frames are {lag:g} apart, being {dt:g} from one to the next; use a shorter lag")
    steps = round(lag / dt)
    if steps < 1 or abs(lag / dt - steps) > 1e-3:
        raise DataError(
            f"lag {lag:g} is not a positive multiple of the time between frames, {dt:g}; the nearest is "
            f"{max(steps, 1) * dt:g}"
        )
    return steps
