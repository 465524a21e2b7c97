"""Sums over frames as draws: a Bayesian bootstrap over their blocks, under a bias with new weights for each draw."""

from __future__ import annotations

import numpy as np

from bayescg.analysis.block_bootstrap import (
    block_ids,
    bootstrap,
    inefficiency,
    refit_sources,
    weights_of,
    without_tails,
)
from bayescg.analysis.mixing import unmixed
from bayescg.analysis.quantity import Quantity
from bayescg.data import Frames, mbar, mbar_draws
from bayescg.errors import DataError

__all__ = ["Resampled", "average", "resampled"]

_AT_ONCE = 4_000_000
_FORGETS = 3.0  # statistical inefficiencies that a replica must be long


class Resampled:
    """Draws of sums over frames.

    Parameters
    ----------
    frames : Frames
    g : float
        Statistical inefficiency of what is summed.
    draws, seed : int

    Attributes
    ----------
    frame_weights : ndarray, (n,)
        Mean 1.
    block_of : ndarray of int, (n,)
    weights : ndarray, (draws, blocks)
        What the frames of each block count.
    factors : ndarray, (draws,)
        By which to move what a draw gives from the estimate of all frames; see `bootstrap`.
    """

    def __init__(self, frames: Frames, g: float, draws: int, seed: int):
        w = weights_of(frames)
        self.frame_weights = w / w.mean()
        self.block_of = block_ids(frames, g)
        self.weights, self.factors = bootstrap(self.block_of, draws, seed, g)

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return self.weights.shape[1]

    def sums(
        self, cell: np.ndarray, cells: int, rows: np.ndarray | slice = slice(None), values: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the frames in each cell, added up: of all frames ``(cells,)`` and in draws ``(rows, cells)``.

        Parameters
        ----------
        cell : ndarray of int, (n,)
            -1 for frames in none.
        cells : int
        rows : ndarray of int, or slice
            Which draws.
        values : ndarray, (n,), optional
            By which to multiply the weights.
        """
        within = cell >= 0
        w = self.frame_weights if values is None else self.frame_weights * values
        size = self.blocks * cells
        hist = np.bincount(self.block_of[within] * cells + cell[within], w[within], size).reshape(-1, cells)
        return hist.sum(0), self.weights[rows] @ hist


class _Biased(Resampled):
    """Frames of many windows: the blocks are columns, and each draw of them has weights of its own by MBAR."""

    def __init__(self, frames: Frames, draws: int, seed: int):
        columns = len(np.unique(frames.trajectory))
        if columns < 3:
            raise DataError(
                f"the windows are of {columns} trajectories: too few for an error bar, which is made of three or more "
                "independent ladders of windows (walkers= of bcg.sampling.umbrella)"
            )
        super().__init__(frames, 1.0, draws, seed)
        assert frames.bias is not None
        energies, window = np.asarray(frames.bias.energies, dtype=np.float64), frames.bias.window
        held = np.zeros((self.blocks, energies.shape[1]))
        np.add.at(held, (self.block_of, window), 1.0)
        if (alone := np.flatnonzero((held > 0).sum(0) == 1)).size:
            raise DataError(
                f"window {alone[0]} has frames of one trajectory only: error bars are made of independent ladders of "
                "windows; let trajectory= number these, each with frames of all windows"
            )
        log_weights, f = mbar(energies, window)
        self.frame_weights = np.exp(log_weights) * len(log_weights)
        free = mbar_draws(energies, window, f, self.block_of, self.weights)
        self._factors = self.weights @ held * np.exp(free) / len(log_weights)
        lowest = energies.min(1)
        self._scale, self._boltzmann = np.exp(lowest - lowest.max()), np.exp(lowest[:, None] - energies)

    def sums(
        self, cell: np.ndarray, cells: int, rows: np.ndarray | slice = slice(None), values: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        order = np.argsort(cell, kind="stable")
        order = order[np.searchsorted(cell[order], 0) :]
        w = self.frame_weights if values is None else self.frame_weights * values
        scale = self._scale if values is None else self._scale * values
        factors, weights = self._factors[rows], self.weights[rows]
        sums = np.zeros((len(factors), cells))
        step = max(1, _AT_ONCE // max(1, len(factors)))
        for start in range(0, len(order), step):
            part = order[start : start + step]
            each = weights[:, self.block_of[part]] * (scale[part] / (factors @ self._boltzmann[part].T))
            first = np.flatnonzero(np.r_[True, np.diff(cell[part]) != 0])
            sums[:, cell[part][first]] += np.add.reduceat(each, first, axis=1)
        return np.bincount(cell[order], w[order], cells), sums


def resampled(frames: Frames, g: float, draws: int, seed: int) -> Resampled:
    """Draws of sums over frames, by blocks that suit a statistical inefficiency `g`; of biased ones by columns."""
    return Resampled(frames, g, draws, seed) if frames.bias is None else _Biased(frames, draws, seed)


def average(values: np.ndarray, frames: Frames, draws: int, seed: int, unit: str) -> Quantity:
    """Average over correlated frames, by a bootstrap over blocks.

    Where values are skewed and the frames worth few independent ones, intervals miss on the long tail's side: that of a
    squared Gaussian variable by frames worth 40 holds the truth in 83 % of data sets. Biased frames whose replicas did
    not mix, or keep to the values they began with, have no interval.

    Parameters
    ----------
    values : ndarray, (n,)
        Of the frames, whose weights are respected.
    frames : Frames
    draws, seed : int
    unit : str

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> x = np.random.default_rng(0).normal(size=(1000, 1))
    >>> average(x[:, 0], Frames.from_numpy(x, unit="reduced"), draws=200, seed=0, unit="nm")
    Quantity(-0.049 ± 0.035 nm, 90 % in [-0.11, 0.006])
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(frames),):
        raise DataError(f"values of shape {values.shape} for {len(frames)} frames: give one a frame")
    g = inefficiency(values, frames)
    drawing = resampled(frames, g, draws, seed)
    everywhere = np.zeros(len(values), dtype=np.int64)
    (total, totals), (sum_, sums) = (drawing.sums(everywhere, 1, values=v) for v in (None, values))
    point = float(sum_[0] / total[0])
    averages = point + drawing.factors * ((sums / totals)[:, 0] - point)
    narrow = without_tails(averages, point, drawing.factors)
    sd = float(narrow.std(ddof=1))
    parts: dict[str, float | None] = {"sampling": sd}
    if (refits := frames.provenance.get("refits")) is not None:
        parts = refit_sources(drawing.frame_weights * (values - point), refits, sd)
    return Quantity.of(averages, unit, _stuck(frames, g), narrow, sd_by_source=parts)


def _stuck(frames: Frames, g: float) -> str | None:
    """Why an average over biased frames has no interval: replicas did not mix, or keep to what they began with."""
    if frames.bias is None or (reason := unmixed(frames)):
        return None if frames.bias is None else reason
    length = len(frames) / len(np.unique(frames.bias.replica))
    if length >= _FORGETS * g:
        return None
    return (
        f"it hardly changes along replicas of {length:.0f} frames, with a statistical inefficiency of {g:.0f}: what "
        "they began with is not forgotten. Sample longer, or along a CV that moves it"
    )
