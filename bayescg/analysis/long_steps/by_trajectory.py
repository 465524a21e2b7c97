"""Averages over whole trajectories, of several draws of a map: no two frames of one are independent."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bayescg.analysis.quantity import Quantity
from bayescg.data import Frames

__all__ = ["each_trajectory", "over_trajectories"]

_FEW = 2
_DRAWS = 4000


def each_trajectory(frames: Frames, values: np.ndarray) -> list[np.ndarray]:
    """Values of frames ``(n, ...)`` of each of the trajectories that were begun; empty where all of one was lost."""
    chains = int(frames.provenance.get("chains", int(frames.trajectory.max()) + 1))
    ends = np.searchsorted(frames.trajectory, np.arange(chains + 1))
    return [values[a:b] for a, b in pairwise(ends)]


def over_trajectories(values: np.ndarray, draws: int, unit: str, seed: int = 0) -> Quantity:
    r"""Mean over trajectories, each of one of `draws` maps from one of as many starts.

    Starts are independent of each other, and draws are: the squares of both standard errors add up, less what is of
    neither alone, and would count twice; with the degrees of freedom of Welch and Satterthwaite.

    Parameters
    ----------
    values : ndarray, (draws * starts,)
        Draw by draw; NaN where a trajectory has none.
    draws : int
    unit : str
    seed : int

    Examples
    --------
    >>> over_trajectories(np.random.default_rng(0).normal(size=400), 1, "kT")
    Quantity(-0.037 ± 0.05 kT, 90 % in [-0.117, 0.047])
    """
    table = values.reshape(draws, -1)
    table = table[np.isfinite(table).any(1)][:, np.isfinite(table).any(0)]
    mean = float(np.nanmean(table)) if table.size else np.nan
    rows, columns = np.nanmean(table, 1), np.nanmean(table, 0)
    variances = {
        name: float(means.var(ddof=1)) / len(means)
        for name, means in (("sampling", columns), ("parameter", rows)) if len(means) >= _FEW
    }  # fmt: skip
    if not variances:
        return Quantity.of(np.array([mean]), unit, "one trajectory has no interval: begin at several states")
    total, degrees = sum(variances.values()), min(map(len, (rows, columns))) - 1
    if len(variances) == 1:
        degrees = max(len(rows), len(columns)) - 1
    else:
        rest = table - rows[:, None] - columns + mean
        both = np.nansum(rest**2) / ((len(rows) - 1) * (len(columns) - 1)) / table.size
        total = max(total - both, *variances.values())
        parts = zip(variances.values(), (len(columns), len(rows)), strict=True)
        degrees = sum(variances.values()) ** 2 / max(sum(v**2 / (n - 1) for v, n in parts), 1e-300)
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(_DRAWS)
    narrow = mean + total**0.5 * (noise - noise.mean()) / noise.std()
    tails = np.sqrt(generator.chisquare(max(degrees, 1.0), _DRAWS) / max(degrees, 1.0))
    sources = {name: variance**0.5 for name, variance in variances.items()}
    return Quantity.of(mean + (narrow - mean) / tails, unit, narrow=narrow, sd_by_source=sources)
