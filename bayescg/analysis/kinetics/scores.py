"""Held-out scores of slow modes, and the diffusion that generators must share for theirs to be of the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bayescg import nets
from bayescg.analysis.kinetics.blocks import blocks_of
from bayescg.analysis.kinetics.covariances import Covariances, accumulate
from bayescg.analysis.kinetics.galerkin import independent, on_blocks, reduced, solve
from bayescg.analysis.kinetics.spectrum import bases_of, diffusion_of
from bayescg.data import Frames, evenly
from bayescg.errors import ConfigError

__all__ = ["MODES", "SCORES", "common_diffusion", "kinetic_score", "score_of_fold"]

SCORES = ("vamp2", "vampe", "timescales")
MODES = 3
"""That count where none are asked for, if a model has as many."""
_CHECKED = 100


def kinetic_score(
    fit: Any, on: Frames, score: str, lag: float | None, diffusion: Any, modes: int | None, folds: int
) -> tuple[np.ndarray, float, float]:
    """Score a fit, or functions, by the slow modes that they hold, K-fold over contiguous blocks.

    In each fold the modes are found on all other blocks; see :func:`bayescg.analysis.compare` for the scores. Scores of
    folds hang together, as each fold is among the frames that the modes of the others are found on: what a block does
    to the whole is what is missing where it is left out of all (jackknife).

    Returns
    -------
    scores : ndarray, (folds,)
        The mean over folds, and around it the jackknife's pseudo-values.
    in_sample : float
        On the frames themselves: too good.
    memory : float
        Statistical inefficiency of the slow modes, as a part of all frames; a fold should be several times longer.
    """
    bases, like, _ = bases_of(fit)
    cells = accumulate(bases[0], on, lag=lag, diffusion=diffusion, like=like)
    parts = cells.merged(np.arange(len(cells)) * folds // len(cells))
    modes = modes or min(MODES, independent(parts))
    small = parts.projected(reduced(parts, modes))
    n, even = len(parts), np.ones((1, len(parts)))
    fold, without = np.repeat(np.eye(n), n, axis=0), np.tile(np.eye(n), (n, 1))
    each = _score(small, 1 - np.maximum(fold, without), fold, modes, score).reshape(n, n)
    left = (each.sum(0) - each.diagonal()) / (n - 1)
    return (
        each.diagonal().mean() - (n - 1) * (left - left.mean()),
        float(_score(small, even, even, modes, score)[0]),
        blocks_of(cells, modes, on.order is not None).inefficiency,
    )


def score_of_fold(
    fit: Any, train: Frames, test: Frames, score: str, lag: float | None, diffusion: Any, modes: int | None
) -> tuple[float, float]:
    """Score of frames that were held out, by modes that were found on those of the training.

    Returns
    -------
    score, memory : float
        The latter as of `kinetic_score`, as a part of both.
    """
    bases, like, _ = bases_of(fit)
    sums = [accumulate(bases[0], part, lag=lag, diffusion=diffusion, like=like) for part in (train, test)]
    cells, ends = sums[0], [part.moved(sums[0].shift).merged(np.zeros(len(part), int)) for part in sums]
    modes = modes or min(MODES, independent(cells))
    small = ends[0].joined(ends[1]).projected(reduced(cells.few(), modes))
    memory = blocks_of(cells, modes, train.order is not None).inefficiency * len(train) / (len(train) + len(test))
    return float(_score(small, np.eye(2)[:1], np.eye(2)[1:], modes, score)[0]), memory


def common_diffusion(candidates: Mapping[str, Any], diffusion: Any, on: Frames) -> Any:
    """The diffusion of the generator whose timescales are compared: as given, or that of all candidates.

    Raises
    ------
    ConfigError
        They differ: the timescales of two generators are not of the same thing.
    """
    each = {name: diffusion_of(diffusion, None, bases_of(fit)[2], on) for name, fit in candidates.items()}
    first = next(iter(each))
    x = torch.as_tensor(on.gather(evenly(on, _CHECKED))).double()
    values = {}
    for name, of_name in each.items():
        if of_name is not each[first]:
            values |= {key: nets.diffusion_tensor(None, x, each[key]) for key in (first, name)}
            if not torch.allclose(values[first], values[name], rtol=1e-5, atol=0.0):
                means = ", ".join(f"{k}: {float(values[k].diagonal(dim1=1, dim2=2).mean()):.4g}" for k in (first, name))
                raise ConfigError(
                    f"timescales of generators with different diffusion are not of the same thing (mean D of {means}); "
                    "give one diffusion= for all"
                )
    return each[first]


def _score(cov: Covariances, train: np.ndarray, test: np.ndarray, modes: int, score: str) -> np.ndarray:
    trained = solve(cov, train, modes)
    a, b = on_blocks(trained, cov, test)
    trace = lambda m: np.trace(m, axis1=1, axis2=2)  # noqa: E731
    if score == "timescales":
        scale = 1 / trained.values[:, :, None]
        return trace(2 * scale * b) - trace(scale * a * scale.mT)
    if score == "vampe":
        nu = 1 - trained.values[:, :, None]
        return 1 + trace(2 * nu * (b - a)) - trace(nu * b @ (nu * b))
    k = np.linalg.solve(b, b - a)
    return 1 + trace(k @ k)
