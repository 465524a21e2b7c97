"""Whether trajectories begin at equilibrium, or move one way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["DRIFTING", "NOT_AT_EQUILIBRIUM", "drifts", "ends_of", "moves"]

FEWEST = 10
MOST = 1000
EACH = 8
FLIPS = 1999
LEVEL = 0.002
NOT_AT_EQUILIBRIUM = (
    "the trajectories do not begin at equilibrium: their last quarters differ from the first ones, which one time in "
    "five hundred they would by chance"
)
DRIFTING = (
    f"{NOT_AT_EQUILIBRIUM}; rates and timescales may be far off and have no interval. Weigh them to it, "
    "frames.equilibrium(fit, lag=...), begin there, or simulate longer trajectories"
)


def drifts(functions: Callable[[Tensor], np.ndarray], frames: Frames, like: Tensor | None = None) -> bool:
    """Whether functions (n, k) of positions differ in the last quarters of trajectories from the first ones.

    At equilibrium a trajectory of reversible dynamics is as probable as the same one backwards, so that the difference
    of its ends has either sign. The largest over the functions of the summed differences, each by the root of its sum
    of squares, is held against those under 1999 random choices of all signs, whatever the distribution of the
    differences: one time in 500 it passes by chance. So that this can be told, ten trajectories are needed;
    fewer are taken to be long enough to forget where they began, if they hold as many relaxations as intervals need.
    So are weighted frames to be at equilibrium.

    Examples
    --------
    >>> import bayescg as bcg
    >>> x = np.random.default_rng(0).normal(size=(20, 50, 1))
    >>> frames = lambda x: bcg.data.Frames.from_numpy(
    ...     x.reshape(-1, 1), unit="reduced", dt=1.0, trajectory=np.repeat(np.arange(20), 50)
    ... )
    >>> drifts(lambda x: x.numpy(), frames(x)), drifts(lambda x: x.numpy(), frames(x + np.linspace(0, 1, 50)[:, None]))
    (False, True)
    """
    ends = ends_of(frames)
    if ends is None:
        return False
    index = np.unique(ends)
    x = torch.as_tensor(frames.gather(index))
    values = functions(x if like is None else x.to(like))
    return moves(*(values[np.searchsorted(index, part)].mean(1) for part in ends))


def ends_of(frames: Frames) -> np.ndarray | None:
    """Frames of the first and of the last quarters, (2, trajectories, 8); None where there is nothing to be told."""
    if frames.order is None or (frames.weights is not None and np.ptp(frames.weights) > 0):
        return None
    edges = np.r_[0, np.flatnonzero(np.diff(frames.trajectory)) + 1, len(frames)]
    starts, lengths = edges[:-1], np.diff(edges)
    starts, lengths = starts[lengths >= 4], lengths[lengths >= 4]
    if len(starts) < FEWEST:
        return None
    some = np.linspace(0, len(starts) - 1, min(len(starts), MOST)).astype(np.int64)
    within = (np.arange(EACH) / EACH * (lengths[some, None] // 4)).astype(np.int64)
    return np.stack([starts[some, None] + within, starts[some, None] + lengths[some, None] - 1 - within])


def moves(first: np.ndarray, last: np.ndarray) -> bool:
    """Whether means (trajectories, k) over the last quarters differ from those over the first ones."""
    differences = first - last
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, len(differences)))
    scale = np.sqrt(np.square(differences).sum(0).clip(1e-300))
    by_chance = (np.abs(signs @ differences) / scale).max(1)
    size = (np.abs(differences.sum(0)) / scale).max()
    return bool((1 + (by_chance >= size * (1 - 1e-12)).sum()) / (1 + FLIPS) <= LEVEL)
