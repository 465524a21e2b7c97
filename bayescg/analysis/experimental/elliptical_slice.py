"""Elliptical slice sampling: draws from a standard normal prior times any likelihood, many chains at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["elliptical_slice"]


def elliptical_slice(
    log_likelihood: Callable[[np.ndarray, np.ndarray], np.ndarray], state: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One step of every chain; nothing is tuned and nothing rejected.

    Parameters
    ----------
    log_likelihood : callable
        Maps states ``(m, size)`` and the numbers ``(m,)`` of their chains to ``(m,)``.
    state : ndarray, (chains, size)
    rng : Generator

    References
    ----------
    Murray, Adams, MacKay, "Elliptical slice sampling", AISTATS 2010, figure 2.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(2000, 1))
    >>> for _ in range(30):  # N(0, 1) times N(3; x, 1) is N(1.5, 1/2)
    ...     x = elliptical_slice(lambda x, chains: -0.5 * (3.0 - x[:, 0]) ** 2, x, rng)
    >>> bool(abs(x.mean() - 1.5) < 0.06 and abs(x.var() - 0.5) < 0.06)
    True
    """
    count = len(state)
    chains = np.arange(count)
    threshold = log_likelihood(state, chains) - rng.exponential(size=count)
    other, angle = rng.normal(size=state.shape), rng.uniform(0, 2 * np.pi, count)
    low, high = angle - 2 * np.pi, angle.copy()
    moved = state.copy()
    while len(chains):
        at = angle[chains, None]
        proposed = state[chains] * np.cos(at) + other[chains] * np.sin(at)
        accepted = log_likelihood(proposed, chains) > threshold[chains]
        moved[chains[accepted]] = proposed[accepted]
        chains = chains[~accepted]
        back = angle[chains] < 0
        low[chains[back]], high[chains[~back]] = angle[chains[back]], angle[chains[~back]]
        angle[chains] = rng.uniform(low[chains], high[chains])
    return moved
