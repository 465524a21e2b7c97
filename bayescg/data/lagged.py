"""Pairs of frames a lag time apart."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayescg.arguments import check_counts
from bayescg.data import split
from bayescg.data.evenly import evenly
from bayescg.data.pairs import pairs_within
from bayescg.data.rows import Rows, check_rows
from bayescg.errors import DataError

__all__ = ["Pairs"]


@dataclass(frozen=True, eq=False, repr=False)
class Pairs:
    """Index pairs: frame ``j[k]`` comes `lag` after frame ``i[k]`` in the same trajectory.

    Parameters
    ----------
    i, j : array of int
        Indices into `frames`, shape (pairs,).
    lag : float
        Lag time (ps, or the time unit of a toy system); of pairs of several, the longest.
    frames : Frames
        The frames that the indices belong to.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> frames = Frames.from_numpy(np.arange(5.0)[:, None], unit="reduced", dt=1.0)
    >>> pairs = frames.lagged(2.0)
    >>> now, later = pairs.gather([0, 1])
    >>> pairs, later.ravel() - now.ravel()
    (Pairs(3, lag=2.0, frames=Frames(5 x 1, reduced, 1 trajectory, dt=1)), array([2., 2.]))
    """

    i: np.ndarray
    j: np.ndarray
    lag: float
    frames: Any

    def __len__(self) -> int:
        return len(self.i)

    def __repr__(self) -> str:
        return f"Pairs({len(self)}, lag={self.lag}, frames={self.frames})"

    def __getitem__(self, index: Any) -> "Pairs":
        return self.subset([index] if isinstance(index, int | np.integer) else index)

    def __iter__(self) -> Iterator["Pairs"]:
        return (self[k] for k in range(len(self)))

    @property
    def lags(self) -> np.ndarray:
        """Time from the one frame to the other of each pair, (pairs,)."""
        return (self.frames.order[self.j] - self.frames.order[self.i]) * self.frames.dt

    @property
    def steps(self) -> int:
        """Frames from one end of a pair to the other."""
        return round(self.lag / (self.frames.dt or self.lag))

    @property
    def spacing(self) -> int:
        """Frames from one pair to the next, 1 unless pairs were left out."""
        return max(1, int(np.median(np.diff(self.i)))) if len(self) > 1 else 1

    @property
    def overlap(self) -> float:
        """Pairs that cover the same moment: so many are worth one.

        What follows a frame is new, given the frame, where frames are Markov over a lag time: pairs a lag time apart
        are independent conditionally, however slowly the frames themselves forget. Pairs in between add somewhat.
        """
        return max(1.0, self.steps / self.spacing)

    @property
    def weights(self) -> None:
        """Nothing: frames reweighted one by one say nothing of how often one follows the other."""
        return

    @property
    def order(self) -> np.ndarray:
        """Place of the first frame of each pair in its trajectory, (pairs,)."""
        return np.asarray(self.frames.order)[self.i]

    def ends(self, field: str = "positions") -> tuple[Rows, Rows]:
        """Positions (or another field) of both ends of all pairs, read only when asked for."""
        x = getattr(self.frames, field)
        base, rows = (x.base, x.rows) if isinstance(x, Rows) else (x, None)
        i, j = (k if rows is None else rows[k] for k in (self.i, self.j))
        return Rows(base, i), Rows(base, j)

    def subset(self, index: Any) -> "Pairs":
        """The pairs `index` (a slice, integers, or a mask) of the same frames."""
        check_rows(index, len(self), "pairs")
        part = replace(self, i=self.i[index], j=self.j[index])
        if len(part) == 0:
            raise DataError(f"an empty selection of {len(self)} pairs")
        return part

    def blocks(self, length: int) -> np.ndarray:
        """Block ids, (pairs,): contiguous blocks of about `length` pairs, by the first frame of each."""
        return self.frames.blocks(length * self.spacing)[self.i]

    def split(self, blocks: int = 20, test: float = 0.2, seed: int = 0) -> tuple["Pairs", "Pairs"]:
        """Pairs to fit and pairs to test on, no frame of the one lying among those of the other.

        The frames are split in contiguous blocks of at least four lag times (fewer than `blocks`, if need be), and
        pairs that reach from one into the other are left out.

        Parameters
        ----------
        blocks : int
            About how many blocks to cut the frames into.
        test : float
            Fraction of the frames to test on, in (0, 1).
        seed : int
            Which blocks.

        Returns
        -------
        train, test : Pairs

        Raises
        ------
        DataError
            The trajectories are too short: one of the two would have no pair.

        Examples
        --------
        >>> from bayescg.data import Frames
        >>> frames = Frames.from_numpy(np.arange(100.0)[:, None], unit="reduced", dt=1.0)
        >>> [len(part) for part in frames.lagged(3.0).split(blocks=10)]
        [65, 20]
        """
        frames = self.frames
        check_counts(blocks=(blocks, 2))
        count = max(2, min(blocks, len(frames) // (4 * self.steps)))
        held_out = split.held_out(frames.trajectory, frames.order, count, test, seed)
        parts = []
        for mask in (~held_out, held_out):
            i, j = pairs_within(self.i, self.j, mask)
            if len(i) == 0:
                raise DataError(
                    f"none of {len(self)} pairs {self.lag:g} apart lies in one piece of the {int(mask.sum())} frames "
                    "to fit or to test on: use longer trajectories or a shorter lag, or hold nothing out (in a fit, "
                    "validation=0)"
                )
            parts.append(Pairs(i, j, self.lag, frames.subset(mask)))
        return parts[0], parts[1]

    def fingerprint(self) -> str:
        """A short digest of the frames, the lag and which pairs there are."""
        sample = evenly(self, 2048)
        digest = hashlib.blake2b(f"{self.frames.fingerprint()} {self.lag!r} {len(self)}".encode(), digest_size=8)
        digest.update(self.i[sample].tobytes() + self.j[sample].tobytes())
        return digest.hexdigest()

    def gather(self, index: Any, field: str = "positions") -> tuple[np.ndarray, np.ndarray]:
        """Positions (or another field) of both ends of the pairs `index`, each (m, ...)."""
        return self.frames.gather(self.i[index], field), self.frames.gather(self.j[index], field)
