"""Pairs of frames a lag time apart, never across a trajectory's end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayescg.errors import DataError

if TYPE_CHECKING:
    from bayescg.data.frames import Frames

__all__ = ["Pairs", "lagged"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Index pairs: frame ``j[k]`` comes `lag` after frame ``i[k]`` in the same trajectory.

    Parameters
    ----------
    i, j : array of int
        Indices into `frames`, shape (pairs,).
    lag : float
        Lag time (ps, or the time unit of a toy system).
    frames : Frames
        The frames that the indices belong to.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> frames = Frames.from_numpy(np.arange(5.0)[:, None], unit="reduced", dt=1.0)
    >>> pairs = frames.lagged(2.0)
    >>> now, later = pairs.gather([0, 1])
    >>> len(pairs), later.ravel() - now.ravel()
    (3, array([2., 2.]))
    """

    i: np.ndarray
    j: np.ndarray
    lag: float
    frames: "Frames"

    def __len__(self) -> int:
        return len(self.i)

    def gather(self, index: "np.ndarray | slice | list[int]") -> tuple[np.ndarray, np.ndarray]:
        """Positions of both ends of the pairs `index`, each (m, ...)."""
        return self.frames.gather(self.i[index]), self.frames.gather(self.j[index])


def lagged(frames: "Frames", lag: float) -> Pairs:
    """All pairs of `frames` that lie `lag` apart; see :meth:`Frames.lagged`."""
    if frames.dt is None or frames.order is None:
        raise DataError("these frames have no time axis, so there is no lag: give dt= where they are loaded")
    steps = round(lag / frames.dt) if np.isfinite(lag) else 0
    if steps < 1 or abs(lag / frames.dt - steps) > 1e-3:
        raise DataError(
            f"lag {lag:g} is not a positive multiple of the time between frames, {frames.dt:g}; "
            f"the nearest is {max(steps, 1) * frames.dt:g}"
        )
    # one integer a frame, with gaps between trajectories that are wider than the lag; in place, for millions of frames
    key = np.zeros(len(frames), dtype=np.int64)
    np.cumsum(frames.trajectory[1:] != frames.trajectory[:-1], out=key[1:])
    longest = int(np.bincount(key).max())
    key *= int(frames.order.max()) + steps + 1
    key += frames.order
    if (key[1:] <= key[:-1]).any():
        raise DataError("frames are repeated or out of order: take lagged pairs before shuffling or resampling")
    target = key + steps
    later = np.searchsorted(key, target)
    np.minimum(later, len(key) - 1, out=later)
    found = np.flatnonzero(key[later] == target)
    if len(found) == 0:
        raise DataError(
            f"no two frames are {lag:g} apart: the longest trajectory has {longest} frames, "
            f"{frames.dt:g} apart; use a shorter lag or longer trajectories"
        )
    del key, target
    return Pairs(i=found, j=later[found], lag=steps * frames.dt, frames=frames)
