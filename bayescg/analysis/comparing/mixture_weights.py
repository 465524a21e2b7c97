"""With which weights the densities of several models are to be mixed, by how they describe held-out frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

__all__ = ["pseudo_bma", "stacking"]

_DRAWS = 1000


def stacking(densities: np.ndarray, weight: np.ndarray) -> np.ndarray:
    r"""Weights w of the mixture :math:`\sum_k w_k p_k(x)` that describes held-out frames best, ``(models,)``.

    Of two models that say the same, one gets all: they are no probabilities that a model is the true one.

    Parameters
    ----------
    densities : ndarray, (models, n)
        Log densities of frames that were held out.
    weight : ndarray, (n,)
        Of the frames.

    References
    ----------
    Y. Yao, A. Vehtari, D. Simpson, A. Gelman, Bayesian Anal. 13, 917 (2018), section 3.1.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=4000) + 2.0 * (np.arange(4000) < 1000)
    >>> stacking(np.stack([-0.5 * x**2, -0.5 * (x - 2.0) ** 2]), np.ones(4000)).round(1)
    array([0.8, 0.2])
    """
    relative = np.exp(densities - densities.max(0))
    share = weight / weight.sum()

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        w = softmax(np.r_[free, 0.0])
        mixed = np.maximum(w @ relative, 1e-300)
        slope = w * ((share / mixed) @ relative.T - 1.0)
        return -float(share @ np.log(mixed)), -slope[:-1]

    if len(densities) == 1:
        return np.ones(1)
    best = minimize(loss, np.zeros(len(densities) - 1), jac=True, method="BFGS", options={"gtol": 1e-7})
    return softmax(np.r_[best.x, 0.0])


def pseudo_bma(blocks: Sequence[np.ndarray], worth: float, seed: int = 0) -> np.ndarray:
    r"""Weights by the exponentials of log scores, averaged over a Bayesian bootstrap of the blocks, ``(models,)``.

    Parameters
    ----------
    blocks : sequence of ndarray, (blocks,)
        Mean log score of each block, for each model.
    worth : float
        Independent frames that all are worth: correlated ones count less in the sum, too.
    seed : int

    References
    ----------
    Yao et al. (2018), as for :func:`stacking`, section 3.4: pseudo-BMA+.

    Examples
    --------
    >>> pseudo_bma([np.array([0.0, 1.0]), np.array([0.1, 0.9])], 100).round(1)
    array([0.5, 0.5])
    """
    scores = np.stack(list(blocks))
    draws = np.random.default_rng(seed).dirichlet(np.ones(scores.shape[1]), _DRAWS)
    total = worth * draws @ scores.T
    return np.exp(total - np.asarray(logsumexp(total, axis=1, keepdims=True))).mean(0)
