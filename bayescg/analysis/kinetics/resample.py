"""Draws of slow modes in one basis: bootstrap, jackknife, gauge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from bayescg.analysis.kinetics.covariances import Covariances
from bayescg.analysis.kinetics.galerkin import Modes, clusters, held_out, matched, noise, reduced, solve
from bayescg.errors import DataError

__all__ = ["Resampled", "resample", "root_rates"]

MOST_LOST = 0.01
FAR = 3.0  # standard deviations above noise
TINY = 1e-6  # a correlation of less, or none, is as good as lost


@dataclass(frozen=True)
class Resampled:
    """What one basis says.

    Attributes
    ----------
    rates : ndarray, (draws, modes)
    centre, bias : ndarray, (modes,)
        Rates of all frames without their bias, and the bias as a part of them.
    lost : ndarray of bool, (modes,)
        Whether a mode decays within the lag: its correlation is not above noise, or is not in some of the draws.
    barely : ndarray of bool, (modes,)
        Whether its correlation is not far above noise, which the draws take into account.
    coefficients, constant : ndarray, (draws, m, modes) and (draws, modes)
        Of the eigenfunctions in the functions of the basis.
    rank : int
    held_out : ndarray, (folds, modes)
        Rates on blocks that the modes were not found on.
    degenerate : list of list of int
        Modes that cannot be told apart, without those that cannot be told from noise.
    functions : ndarray, (sample, modes or more)
        The eigenfunctions of all frames at a sample of them.
    """

    rates: np.ndarray
    centre: np.ndarray
    bias: np.ndarray
    lost: np.ndarray
    barely: np.ndarray
    coefficients: np.ndarray
    constant: np.ndarray
    rank: int
    held_out: np.ndarray
    degenerate: list[list[int]]
    functions: np.ndarray


def root_rates(values: np.ndarray, lag: float | None) -> np.ndarray:
    """Roots of the eigenvalues of minus the generator from Rayleigh quotients: themselves, or 1 - nu for a lag.

    Examples
    --------
    >>> root_rates(1 - np.exp(-np.array([0.5, 2.0])), 0.5).round(6).tolist()
    [1.0, 2.0]
    """
    values = np.maximum(values, 1e-300)
    return np.sqrt(values if lag is None else -np.log1p(-np.minimum(values, 1 - TINY)) / lag)


def resample(
    cov: Covariances,
    weights: np.ndarray,
    factors: np.ndarray,
    modes: int,
    lag: float | None,
    sample: np.ndarray,
    first: Resampled | None = None,
) -> Resampled:
    """Slowest modes under weights of the blocks (draws, blocks), moved away from the estimate by `factors` (draws,).

    Parameters
    ----------
    cov : Covariances
        Of the blocks.
    weights, factors : ndarray
    modes : int
    lag : float or None
    sample : ndarray, (sample, m)
        Values of the basis at some frames.
    first : Resampled, optional
        Of another basis at the same frames, whose gauge to take.
    """
    n, even = len(cov), np.ones((1, len(cov)))
    p, (point, left, boots) = _solved(cov, modes, (even, 1 - np.eye(n), weights))
    small, more = cov.projected(p), point.values.shape[1]
    spread = np.sqrt((n - 1) * root_rates(left.values, lag).var(0))
    groups = clusters(root_rates(point.values, lag)[0], spread)
    reference, metric = point.vectors[0], small.mixed(even)[1][0]
    at = (sample - cov.shift) @ p - point.mean
    if first is not None:
        aim = np.linalg.lstsq(at, first.functions[:, :more], rcond=None)[0]
        reference = np.concatenate([aim, reference[:, aim.shape[1] :]], 1)
    limits = np.full(more, -np.inf) if lag is None else noise(small.fixed, more)
    resolved = np.logical_and.accumulate(1 - point.values[0] > limits)
    close = [[k for k in group if resolved[k]] for group in groups]
    turned, all_turned = (matched(m, reference, metric, groups) for m in (point, boots))
    estimate, jack, boot = (root_rates(m.values[:, :modes], lag) for m in (point, left, boots))
    floor = 0.1 * estimate[0]  # where the errors are as large as the rates, none is negative
    bias = (n - 1) * (jack.mean(0) - estimate[0])
    centre = np.maximum(estimate[0] - bias, floor)
    # where a mode hangs on rare values, the bootstrap's spread is too small, which the jackknife's is not
    wider = spread[:modes] / (boot.std(0) * np.sqrt((n + 1) / (n - 1)))
    (c0, k0), (c, k) = (
        _coefficients(vectors[:, :, :modes], m.mean, p, cov.shift)
        for vectors, m in ((turned, point), (all_turned, boots))
    )
    rates = np.square(np.maximum(centre + factors[:, None] * wider * (boot - boot.mean(0)), floor))
    lost, barely = ~resolved[:modes], np.zeros(modes, dtype=bool)
    if lag is not None:
        lost |= (boots.values[:, :modes] >= 1.0).mean(0) > MOST_LOST
        least = np.maximum(limits[:modes], norm.isf(MOST_LOST) * boots.values[:, :modes].std(0))
        correlation = np.exp(-lag * rates)
        barely = ~lost & (correlation.mean(0) - least <= FAR * correlation.std(0))
        for k in np.flatnonzero(barely):
            rates[:, k] = -np.log(_selected(correlation[:, k], least[k])) / lag
    return Resampled(
        rates=rates,
        centre=np.square(centre),
        bias=2 * bias / centre,
        lost=lost,
        barely=barely,
        coefficients=c0 + factors[:, None, None] * (c - c0),
        constant=k0 + factors[:, None] * (k - k0),
        rank=p.shape[1],
        held_out=np.square(root_rates(held_out(small.fixed, modes), lag)),
        degenerate=[g for g in close if len(g) > 1 and g[0] < modes],
        functions=at @ turned[0],
    )


def _solved(cov: Covariances, modes: int, weights: Sequence[np.ndarray]) -> tuple[np.ndarray, list[Modes]]:
    """Combinations of the functions (m, r), and the modes under each of several weights of the blocks.

    Equilibrium weights, a few of them negative, may leave a combination without a variance in some draws: one fewer is
    used then.
    """
    p = reduced(cov.fixed, modes)
    while True:
        more = min(modes + 2, p.shape[1])  # so that a degenerate pair at the end is not cut
        small = cov.projected(p)
        try:
            return p, [solve(small, w, more) for w in weights]
        except DataError:
            if cov.fixed is cov or p.shape[1] <= modes:
                raise
            p = p[:, :-1]


def _selected(correlation: np.ndarray, limit: float) -> np.ndarray:
    """Draws (draws,) of the correlation of a mode that would not be told of if it were below a limit.

    Correlations that pass the limit by chance are too large. Their error, a Gaussian with the spread of the draws, is
    that of estimates beyond the limit: for each true correlation the probability of one as large, given that it
    passes, takes the place of that of any. Intervals are right then, whatever the true one; means are not.
    """
    centre, sd = max(correlation.mean(), limit), correlation.std()
    true = np.linspace(TINY, centre + 5 * sd, 2000)
    above = np.exp(norm.logsf((centre - true) / sd) - norm.logsf((limit - true) / sd))
    below = (rankdata(correlation, method="ordinal") - 0.5) / len(correlation)
    return np.interp(below, above, true)


def _coefficients(
    vectors: np.ndarray, mean: np.ndarray, p: np.ndarray, shift: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the eigenfunctions in the functions themselves, (draws, m, modes), and their constant, (draws, modes)."""
    c = p @ vectors
    return c, -np.einsum("m,dmk->dk", shift, c) - np.einsum("dr,drk->dk", mean, vectors)
