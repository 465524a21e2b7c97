"""Stretches of trajectories, of frames a lag time apart: what a model of whole paths learns from."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayescg.data.pairs import steps_of
from bayescg.data.rows import check_rows
from bayescg.data.split import spacing
from bayescg.errors import DataError

__all__ = ["Stretches", "stretches"]


@dataclass(frozen=True, eq=False, repr=False)
class Stretches:
    """Rows of frames that follow each other, each `lag` after the one before it in the same trajectory.

    Parameters
    ----------
    index : array of int, (stretches, length)
        Indices into `frames`; -1 after the end of a stretch that is shorter than others.
    lag : float
        Time between neighbours in a row (ps, or the time unit of a toy system).
    steps : int
        Places from one to the next; so many rows, shifted by one frame each, cover the same time.
    frames : Frames
        The frames that the indices belong to.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> frames = Frames.from_numpy(np.arange(7.0)[:, None], unit="reduced", dt=1.0)
    >>> frames.stretches(2.0, length=9).index
    array([[ 0, 2, 4, 6],
           [ 1, 3, 5, -1]])
    """

    index: np.ndarray
    lag: float
    steps: int
    frames: Any

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Stretches({len(self)} of {self.length}, lag={self.lag:g}, frames={self.frames})"

    @property
    def length(self) -> int:
        """Frames in the longest row."""
        return self.index.shape[1]

    @property
    def overlap(self) -> float:
        """Rows that cover the same time: so many are worth one."""
        return float(self.steps)

    @property
    def weights(self) -> None:
        """Nothing: frames reweighted one by one say nothing of how often one follows the other."""
        return

    @property
    def order(self) -> np.ndarray:
        """Place of the first frame of each row in its trajectory, (stretches,)."""
        return np.asarray(self.frames.order)[self.index[:, 0]]

    @property
    def trajectory(self) -> np.ndarray:
        """Which trajectory each row is of, (stretches,)."""
        return self.frames.trajectory[self.index[:, 0]]

    def arranged(self, values: Any) -> Any:
        """Rows ``(stretches, length, ...)`` of a tensor with one value ``(...)`` a frame; NaN after their ends."""
        rows = values[self.index]
        rows[self.index < 0] = math.nan
        return rows

    def subset(self, rows: Any) -> "Stretches":
        """Some of the rows (a slice, integers, or a mask), of the same frames."""
        check_rows(rows, len(self), "stretches")
        part = replace(self, index=self.index[rows])
        if len(part) == 0:
            raise DataError(f"an empty selection of {len(self)} stretches")
        return part

    def blocks(self, length: int) -> np.ndarray:
        """Block ids, (stretches,): rows that begin within the same `length` stretches of time."""
        return self.frames.blocks(length * self.length * self.steps)[self.index[:, 0]]

    def split(self, blocks: int = 20, test: float = 0.2, seed: int = 0) -> tuple["Stretches", "Stretches"]:
        """Rows of frames to fit and of frames to test on, which :meth:`Frames.split` divides."""
        parts = self.frames.split(blocks, test, seed)
        return tuple(part.stretches(self.lag, self.length) for part in parts)  # type: ignore[return-value]

    def fingerprint(self) -> str:
        """A short digest of the frames and which rows there are."""
        digest = hashlib.blake2b(f"{self.frames.fingerprint()} {self.lag!r}".encode(), digest_size=8)
        digest.update(self.index.tobytes())
        return digest.hexdigest()


def stretches(frames: Any, lag: float | None, length: int) -> Stretches:
    """Rows of `Frames`; see :meth:`Frames.stretches`.

    Raises
    ------
    DataError
    """
    if frames.dt is None or frames.order is None:
        raise DataError("these frames have no time axis, so there is no lag: give dt= where they are loaded")
    gap = spacing(frames.order)
    steps = 1 if lag is None else steps_of(lag, frames.dt * gap)
    block = frames.blocks(length * steps)
    place = np.arange(len(frames)) - np.searchsorted(block, block)
    row, column = block * steps + place % steps, place // steps
    index = np.full((int(row.max()) + 1, int(column.max()) + 1), -1)
    index[row, column] = np.arange(len(frames))
    long = index[:, 1] >= 0 if index.shape[1] > 1 else np.zeros(len(index), dtype=bool)
    if not long.any():
        raise DataError(
            f"no two frames are {steps * frames.dt * gap:g} apart: use a shorter lag, or longer trajectories than the "
            f"longest of {int(np.bincount(block).max())} frames, {frames.dt * gap:g} apart"
        )
    return Stretches(index[long], steps * frames.dt * gap, steps, frames)
