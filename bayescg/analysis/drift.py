"""Whether trajectories begin at equilibrium."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from bayescg.data import statistical_inefficiency

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["DRIFTING", "beginnings", "drifts"]

MOST_FRAMES = 10_000
MOST_TRAJECTORIES = 1000
LEVEL = 0.05
MATTERS = 0.5
NOT_AT_EQUILIBRIUM = (
    "the trajectories do not begin at equilibrium: their first frames differ from the others, as one time in twenty "
    "they would by chance, and the trajectories are too short to forget them"
)
DRIFTING = (
    f"{NOT_AT_EQUILIBRIUM}; rates and timescales may be far off and have no interval. Weigh them to it, "
    "frames.equilibrium(fit, lag=...), begin there, or simulate longer trajectories"
)


def drifts(functions: Callable[[Tensor], np.ndarray], frames: Frames, like: Tensor | None = None) -> bool:
    r"""Whether trajectories begin elsewhere than at equilibrium, to functions (n, k) of positions, and it matters.

    Two things are asked of the differences :math:`d_i` between a function's first value in each trajectory and its mean
    there. They are too many of one sign: at equilibrium reversible trajectories are as probable backwards, so that
    :math:`\sum_i d_i` has mean zero and the variance of the differences of the last values, and is beyond that one time
    in twenty. Where all begin alike, or seldom go where they spend little time, the mean square of both ends is too
    small, and that of all frames about the means of their trajectories stands for it. And they move averages: a memory
    of g frames adds :math:`\sum_i d_i g / 2` to the sum of N frames, whose standard deviation is :math:`\sigma
    \sqrt{N g}`; this has to be more than half of it, which leaves 86 of 100 of its 90 % intervals
    right.

    Of sets of trajectories of a double well that all begin in one well, of 60 each, 53 are noticed where they are 20 of
    one relaxation, 58 of 20 of 1.5, 59 of 20 of two, 56 of nine of five, and 13 of five of ten relaxations, which
    forget where they began. Of sets from equilibrium, 9 of 300 are.

    Weighted frames are taken to be at equilibrium.

    Examples
    --------
    >>> import bayescg as bcg
    >>> x = np.random.default_rng(0).normal(size=(20, 50, 1))
    >>> frames = lambda x: bcg.data.Frames.from_numpy(
    ...     x.reshape(-1, 1), unit="reduced", dt=1.0, trajectory=np.repeat(np.arange(20), 50)
    ... )
    >>> drifts(lambda x: x.numpy(), frames(x)), drifts(lambda x: x.numpy(), frames(x + np.linspace(0, 3, 50)[:, None]))
    (False, True)
    """
    index = _watched(frames)
    if index is None:
        return False
    x = torch.as_tensor(frames.gather(index))
    return _moves(functions(x if like is None else x.to(like)), frames.trajectory[index])


def beginnings(values: np.ndarray, frames: Frames) -> str | None:
    """What to say of averages of values (n, k) over frames that `drifts` would find fault with; None: nothing."""
    index = _watched(frames)
    if index is None or not _moves(values[index], frames.trajectory[index]):
        return None
    return f"{NOT_AT_EQUILIBRIUM}; weigh them to it, frames.equilibrium(fit, lag=...)"


def _watched(frames: Frames) -> np.ndarray | None:
    """Frames of several trajectories, evenly spaced in time; None where nothing can be told of their beginnings."""
    if frames.order is None or (frames.weights is not None and np.ptp(frames.weights) > 0):
        return None
    edges = np.r_[0, np.flatnonzero(np.diff(frames.trajectory)) + 1, len(frames)]
    some = np.unique(np.linspace(0, len(edges) - 2, MOST_TRAJECTORIES).astype(np.int64))
    starts, lengths = edges[some], np.diff(edges)[some]
    if len(some) < 2 or lengths.max() < 4:
        return None
    step = max(1, min(int(lengths.sum()) // MOST_FRAMES, int(lengths.max()) // 4))
    return np.concatenate([np.arange(a, a + n, step) for a, n in zip(starts, lengths, strict=True)])


def _moves(values: np.ndarray, trajectory: np.ndarray) -> bool:
    """Whether values (n, k) begin elsewhere than they are on average in trajectories (n,), and it matters."""
    _, first, each, count = np.unique(trajectory, return_index=True, return_inverse=True, return_counts=True)
    beyond = norm.isf(LEVEL / 2 / values.shape[1])
    for v in np.asarray(values, np.float64).T:
        apart = v - (np.bincount(each, v) / count)[each]
        begins, ends = apart[first], apart[first + count - 1]
        within = np.bincount(each, apart**2) / count
        shift = abs(begins.sum())
        if shift > beyond * np.sqrt(max((begins**2 + ends**2).sum() / 2, within.sum())):
            g = statistical_inefficiency(v, trajectory)
            if shift * g / 2 > MATTERS * v.std() * np.sqrt(len(v) * g):
                return True
    return False
