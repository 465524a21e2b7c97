"""Do correlated frames follow a predictive distribution: Neyman's smooth test, by blocks."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from scipy.stats import f as fisher

__all__ = ["components", "pit", "smooth_test"]


def pit(values: np.ndarray, generated: np.ndarray) -> np.ndarray:
    """Probability integral transform of values ``(n,)``: which part of the generated ones ``(m,)`` lies below each.

    Examples
    --------
    >>> pit(np.array([0.5, 3.0]), np.arange(4.0))
    array([0.25 , 0.875])
    """
    ordered = np.sort(generated)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return below / (2 * len(ordered))


def components(u: np.ndarray, order: int) -> np.ndarray:
    """Legendre polynomials 1 to `order` of u in [0, 1], ``(..., order)``; of uniform u uncorrelated and standardised.

    The first tells of the average, the second of the spread, the third of skewness, the fourth of the tails.

    Examples
    --------
    >>> components(np.array([0.0, 0.5, 1.0]), 2).round(2)
    array([[-1.73,  2.24],
           [ 0.  , -1.12],
           [ 1.73,  2.24]])
    """
    values = legendre.legvander(2 * u - 1, order)[..., 1:]
    return values * np.sqrt(2 * np.arange(1, order + 1) + 1)


def smooth_test(scores: np.ndarray, weight: np.ndarray, blocks: np.ndarray, seen: float, expected: np.ndarray) -> float:
    r"""p-value of scores of frames that are as expected where the model is right.

    Hotelling's :math:`T^2` of the mean of the blocks. Its covariance is that of the blocks among each other, of what
    draws of the parameters predict, and of the finite number of generated configurations, each known as well as so
    many blocks, draws and batches tell.

    Parameters
    ----------
    scores : ndarray, (n, k)
        Of frames.
    weight : ndarray, (n,)
    blocks : ndarray of int, (n,)
        Contiguous blocks, long against the memory of the scores.
    seen : float
        Part of the variance that blocks show, as neighbours are correlated.
    expected : ndarray, (draws, batches, k)
        Mean scores of several batches of configurations that each draw of the parameters generates, by random numbers
        that draws may share.

    References
    ----------
    J. Neyman, "Smooth test for goodness of fit", Scand. Actuar. J. 1937, 149; H. Hotelling, Ann. Math. Stat. 2, 360
    (1931).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> right, wrong = (smooth_test(rng.normal(m, 1, (800, 2)), np.ones(800), np.arange(800) // 20, 1.0,
    ...                             np.zeros((1, 5, 2))) for m in (0.0, 0.2))
    >>> right > 0.01, wrong < 0.001
    (True, True)
    """
    total = np.bincount(blocks, weight)
    means = np.stack([np.bincount(blocks, weight * column) / total for column in scores.T], 1)
    share = total / total.sum()
    apart = share @ means - expected.mean((0, 1))
    count, size = len(total), len(apart)
    centred = share[:, None] * (means - share @ means)
    of_blocks = centred.T @ centred * (count / (count - 1) / seen)
    of_draws, of_chance = _of_predictions(expected)
    parts = [
        (of_blocks, count - 1),
        (of_draws * (1 + 1 / len(expected)), max(1, len(expected) - 1)),
        (of_chance, expected.shape[1] - 1),
    ]
    covariance = sum(part for part, _ in parts)
    spread = sum(np.trace(part) ** 2 / each for part, each in parts)
    dof = max(size + 1.0, np.trace(covariance) ** 2 / spread)
    square = float(apart @ np.linalg.solve(covariance, apart))
    return float(fisher.sf(square * (dof - size + 1) / (dof * size), size, dof - size + 1))


def _of_predictions(expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariances (k, k) of draws of the parameters, and of the mean of all by the chance of its configurations.

    Two ways, draws and batches: what is left of both is the chance of one batch of one draw.
    """
    draws, batches, size = expected.shape
    by_draw, by_batch, mean = expected.mean(1), expected.mean(0), expected.mean((0, 1))
    apart = by_batch - mean
    of_chance = apart.T @ apart / ((batches - 1) * batches)
    if draws == 1:
        return np.zeros((size, size)), of_chance
    left = (expected - by_draw[:, None] - by_batch + mean).reshape(-1, size)
    of_one = left.T @ left / ((draws - 1) * (batches - 1))
    moved = by_draw - mean
    values, axes = np.linalg.eigh(moved.T @ moved / (draws - 1) - of_one / batches)
    return (axes * values.clip(0.0)) @ axes.T, of_chance
