"""Error bars of averages over correlated frames: the Bayesian bootstrap over blocks of frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bayescg.data import Frames, draw_of, neighbours_resemble, seen_by_blocks, statistical_inefficiency
from bayescg.data.frame_checks import places
from bayescg.errors import DataError
from bayescg.inference.uncertainty import block_weights

__all__ = [
    "block_draws",
    "block_ids",
    "bootstrap",
    "in_time",
    "inefficiency",
    "on_the_line",
    "refit_sources",
    "sources",
    "weights_of",
    "without_tails",
]

BLOCKS = 100
FOLLOW = (
    "the frames have no time axis, but neighbours are alike: they are taken to follow each other in time. Give dt= "
    "where they are loaded; if they are independent draws, shuffle them"
)


def weights_of(frames: Frames) -> np.ndarray:
    """Weights of frames, (n,); ones where they have none. Equilibrium weights include those few that are negative."""
    if frames.koopman is not None:
        return frames.koopman.weights()
    return np.ones(len(frames)) if frames.weights is None else np.asarray(frames.weights, dtype=np.float64)


def in_time(values: np.ndarray, frames: Frames) -> Frames:
    """Frames without a time axis as following each other, where their values ``(n, k)`` say that they do.

    As independent draws they would have error bars that are too small, by the square root of g. A fit's own draws stand
    in the order of its refits, and stay as they are.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> x = np.repeat(np.random.default_rng(0).normal(size=(500, 1)), 8, axis=0)
    >>> in_time(x, Frames.from_numpy(x, unit="reduced")).order[-1].item()
    3999
    """
    of_the_fit = {"refits", "pareto_k"} & set(frames.provenance)
    if frames.order is not None or frames.bias is not None or of_the_fit:
        return frames
    if not neighbours_resemble(values, frames.trajectory):
        return frames
    return replace(frames, order=places(frames.trajectory))


def inefficiency(values: np.ndarray, frames: Frames, periodic: Sequence[bool] = (False,)) -> float:
    """Frames per independent draw of these values ``(n,)`` or ``(n, k)``; 1 for frames without order.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> x = np.repeat(np.random.default_rng(0).normal(size=500), 8)
    >>> round(inefficiency(x, Frames.from_numpy(x[:, None], unit="reduced", dt=1.0)))
    8
    """
    if frames.order is None:
        return 1.0
    series = on_the_line(values, periodic)
    paths = frames.trajectory
    if frames.bias is not None:  # replicas go on while windows change
        order = np.argsort(frames.bias.replica, kind="stable")
        series, paths = series[order], frames.bias.replica[order]
    if (draw := draw_of(frames)) is not None:  # what draws differ by is no memory
        each = np.unique(draw, return_inverse=True)[1]
        counts = np.bincount(each)
        series = series - np.stack([np.bincount(each, c) / counts for c in series.T], 1)[each]
    if not np.ptp(series, axis=0).any():
        return 1.0
    return statistical_inefficiency(series, paths)


def on_the_line(values: np.ndarray, periodic: Sequence[bool]) -> np.ndarray:
    """Columns of values ``(n,)`` or ``(n, k)``, with cosine and sine for each that is periodic.

    Examples
    --------
    >>> on_the_line(np.zeros(2), [True])
    array([[1., 0.],
           [1., 0.]])
    """
    columns: list[np.ndarray] = []
    for column, circular in zip(values.reshape(len(values), -1).T, periodic, strict=True):
        columns += [np.cos(column), np.sin(column)] if circular else [column]
    return np.stack(columns, 1)


def block_ids(frames: Frames, g: float) -> np.ndarray:
    """Contiguous blocks, ``(n,)``: 5 to 10 `g` frames long or longer, at most about 100 of them, at least about 10.

    Blocks of 5 g lose a tenth of the variance of a mean, those of 10 g a twentieth, which `bootstrap` makes up for;
    more than 100 blocks gain nothing. Of biased frames each trajectory, a column of windows, is one.
    """
    n = len(frames)
    if frames.bias is not None:
        return np.unique(frames.trajectory, return_inverse=True)[1]
    if "refits" in frames.provenance:  # each an estimate of its own
        return np.asarray(frames.trajectory)
    if frames.order is None:
        return frames.blocks(max(1, n // BLOCKS))
    length = max(5 * g, min(10 * g, n / 20), n / BLOCKS)
    return frames.blocks(max(1, int(min(np.ceil(length), n / 10))))


def block_draws(blocks: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Weights of the blocks ``(draws, blocks)`` in the Bayesian bootstrap: Dirichlet(1, ..., 1), mean 1."""
    count = int(blocks.max()) + 1
    return block_weights(torch.arange(count), draws, seed).double().numpy()


def bootstrap(blocks: np.ndarray, draws: int, seed: int, g: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the blocks (draws, blocks), and by which factors (draws,) to move what they give from the estimate.

    Frames of a statistical inefficiency `g` make blocks that are correlated: the factors allow for it.
    """
    weights = block_draws(blocks, draws, seed)
    count = weights.shape[1]
    return weights, inflation(count, draws, seed) / seen_by_blocks(g, len(blocks) / count) ** 0.5


def without_tails(draws: np.ndarray, centres: np.ndarray | float, factors: np.ndarray) -> np.ndarray:
    """Draws that `bootstrap`'s factors moved from their centres, moved alike: their spread is the standard error.

    Student's t of few degrees of freedom is wider than that: without end, of two.
    """
    return centres + (draws - centres) * (np.mean(factors**-2.0) ** -0.5 / factors)


def sources(draws: np.ndarray, centres: np.ndarray) -> dict[str, Any]:
    """Standard deviations (...) of draws (draws, ...) by what they are about.

    Draws are those of several refits in turn, each about its centre (refits, ...). Of a single one, frames are all
    that is uncertain.
    """
    sd = draws.std(0, ddof=1)
    if len(centres) == 1:
        return {"sampling": sd}
    centre = centres[np.arange(len(draws)) % len(centres)]
    sampling, parameter = (draws - centre).std(0), centre.std(0)
    chance = sd / np.hypot(sampling, parameter)  # in finitely many draws the two go together a little
    return {"sampling": chance * sampling, "parameter": chance * parameter}


def refit_sources(influence: np.ndarray, refits: int, sd: float) -> dict[str, float | None]:
    """Split the error of an average over draws of several refits into that of their draws and that of their training.

    Parameters
    ----------
    influence : ndarray, (n,)
        What each draw adds to the average, less the mean; as many draws of each refit, one refit after the other.
    refits : int
    sd : float
        Of the average.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(10, 1000))
    >>> found = refit_sources((noise + np.arange(10)[:, None]).ravel(), 10, 1.0)
    >>> round(found["sampling"], 2), round(found["parameter"], 2)
    (0.01, 1.0)
    """
    parts = np.stack([part.mean(1) for part in np.array_split(influence.reshape(refits, -1), 10, axis=1)], 1)
    within, total = parts.var(1, ddof=1).mean() / parts.shape[1], parts.mean(1).var(ddof=1)
    share = min(1.0, float(within / total)) if total > 0 else 1.0
    return {"sampling": sd * share**0.5, "parameter": sd * (1 - share) ** 0.5}


def inflation(blocks: int, draws: int, seed: int) -> np.ndarray:
    r"""Factors ``(draws,)`` by which a block bootstrap's draws are moved away from the estimate.

    With n blocks the Bayesian bootstrap has (n - 1)/(n + 1) of the variance of a mean, and its tails are those of a
    Gaussian although the variance is itself estimated. Factors :math:`\sqrt{(n+1)/(n-1)} \sqrt{(n-1)/\chi^2_{n-1}}`
    give the draws the spread and the Student t of n - 1 degrees of freedom that the interval of a mean has.

    Examples
    --------
    >>> bool(inflation(10, 4000, 0).mean() > inflation(100, 4000, 0).mean() > 1)
    True
    """
    if blocks < 3:
        raise DataError(f"only {blocks} blocks of frames: too few for an error bar; simulate longer")
    chi2 = np.random.default_rng([seed, blocks]).chisquare(blocks - 1, draws)
    return np.sqrt((blocks + 1) / chi2)
