"""Eigenproblems in a basis: which directions the data determine, the modes, and their gauge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bayescg.analysis.kinetics.covariances import Covariances
from bayescg.errors import DataError

__all__ = [
    "Modes",
    "clusters",
    "held_out",
    "independent",
    "matched",
    "noise",
    "on_blocks",
    "principal",
    "reduced",
    "solve",
]

CUTS = 10.0 ** -np.arange(1, 13)
FOLDS = 5
NOISES = 400


@dataclass(frozen=True)
class Modes:
    """Solutions of A c = q B c under each of a number of weights.

    Attributes
    ----------
    values : ndarray, (draws, modes)
        Rayleigh quotients q, ascending: rates, or what is lost in a lag time.
    vectors : ndarray, (draws, m, modes)
        Coefficients c, of unit variance.
    mean : ndarray, (draws, m)
        Of the functions.
    """

    values: np.ndarray
    vectors: np.ndarray
    mean: np.ndarray


def solve(cov: Covariances, weights: np.ndarray, modes: int) -> Modes:
    """Slowest modes under weights of the blocks (draws, blocks), all in one batch.

    Raises
    ------
    DataError
        The functions depend linearly on each other under some weights.
    """
    *forms, mean = cov.mixed(weights)
    a, b = map(torch.from_numpy, forms)
    # torch's, not NumPy's, whose threads wait for each other on matrices as small as these
    lower, failed = torch.linalg.cholesky_ex(b)
    if failed.any():
        raise DataError(
            f"{cov.size} functions are too many for these frames: they depend linearly on each other in some draws; "
            "use fewer, or more frames"
        )
    inverse = torch.linalg.inv(lower)
    whitened = inverse @ a @ inverse.mT
    values, vectors = torch.linalg.eigh(0.5 * (whitened + whitened.mT))
    return Modes(values[:, :modes].numpy(), (inverse.mT @ vectors[:, :, :modes]).numpy(), mean)


def reduced(cov: Covariances, modes: int) -> np.ndarray:
    """Combinations of the functions that the data determine, (m, r), uncorrelated and of unit variance.

    Principal components of the standardised functions, down to a part of the largest variance. It is chosen by the
    sum of the leading Rayleigh quotients of blocks that were held out, of which too few directions and too many both
    give a larger one.

    Parameters
    ----------
    cov : Covariances
        Of blocks that are long against the correlation of the frames.
    modes : int

    Raises
    ------
    DataError
        There are fewer independent functions than modes, or none that varies.
    """
    _, b, _ = cov.mixed(np.ones(len(cov)))
    full, ranks = principal(b[0], whiten=True)
    if not full.size:
        raise DataError(
            "none of the functions varies over these frames: give functions that do, or more frames than one"
        )
    possible = [r for r in ranks if r >= modes]
    if not possible:
        raise DataError(f"{modes} modes need as many independent functions, and there are {max(ranks)}: use more")
    tried = [held_out(cov.projected(full[:, :r]), modes) for r in possible]
    finite = [t.mean(0) for t in tried if np.isfinite(t).all()]
    if not finite:
        raise DataError("no number of functions can be told from held-out frames: there are too few blocks of frames")
    scores = [(t.mean(0) / finite[0]).sum() for t in tried]  # each mode counts by its relative change
    return full[:, : possible[int(np.argmin(scores))]]


def independent(cov: Covariances) -> int:
    """How many of the functions are independent, 1 or more."""
    _, b, _ = cov.mixed(np.ones(len(cov)))
    return max(1, *principal(b[0], whiten=True)[1])


def principal(moments: np.ndarray, whiten: bool) -> tuple[np.ndarray, list[int]]:
    """Principal components of the standardised functions (m, r), the largest first, and how many of them to try.

    Functions that do not vary are in none. Whitened, components have unit variance.
    """
    variance = np.diag(moments)
    used = np.flatnonzero(variance > 1e-12 * variance.max())
    scale = np.sqrt(variance[used])
    spread, directions = np.linalg.eigh(moments[np.ix_(used, used)] / np.outer(scale, scale))
    if whiten:
        with np.errstate(invalid="ignore", divide="ignore"):
            directions = directions / np.sqrt(spread)
    components = np.zeros((len(moments), len(used)))
    components[used] = directions[:, ::-1] / scale[:, None]
    return components, sorted({int((spread > cut * spread.max(initial=0)).sum()) for cut in CUTS})


def held_out(cov: Covariances, modes: int) -> np.ndarray:
    """Leading Rayleigh quotients on each of a few folds of blocks, of modes found on the others, (folds, modes)."""
    count = min(FOLDS, len(cov))
    fold = np.arange(len(cov)) * count // len(cov)
    inside = (fold == np.arange(count)[:, None]).astype(np.float64)
    try:
        trained = solve(cov, 1 - inside, modes)
    except DataError:
        return np.full((count, modes), np.inf)
    a, b = on_blocks(trained, cov, inside)
    return np.sort(np.linalg.eigvals(np.linalg.solve(b, a)).real, axis=1)


def on_blocks(modes: Modes, cov: Covariances, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dirichlet forms and covariances of modes under other weights than they were found with, (draws, modes, modes)."""
    a, b, mean = cov.mixed(weights)
    apart = mean - modes.mean  # the mean that is taken off is that of the frames the modes were found on
    b = b + apart[:, :, None] * apart[:, None, :]
    a, b = (modes.vectors.mT @ m @ modes.vectors for m in (a, b))
    return a, b


def noise(cov: Covariances, modes: int) -> np.ndarray:
    """How large correlations of the leading modes of pairs a lag apart get by chance, one time in twenty, (modes,).

    The largest of several correlations is positive even where all of them are noise. How large noise gets is told by
    the data: the deviations of the blocks from their average, each with a random sign, in the functions that are left
    when the slower modes are taken out.

    Parameters
    ----------
    cov : Covariances
        Of blocks that are long against the correlation of the frames, for pairs of frames.
    modes : int
    """
    n, total = len(cov), cov.weight.sum()
    every = solve(cov, np.ones((1, n)), cov.size)
    c, mean, drift = every.vectors[0], every.mean[0], cov.first[:, :, None] * every.mean[0]
    second = cov.second - drift - drift.mT + np.multiply.outer(cov.weight, np.outer(mean, mean))
    lagged, second = (c.T @ part @ c / total for part in (second - cov.dirichlet, second))
    nu = 1 - every.values[0]  # a mode that varies more in a block does not therefore last longer
    apart = (lagged - 0.5 * (nu[:, None] + nu) * second) * np.sqrt(n / (n - 1))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (NOISES, n))
    by_chance = np.tensordot(signs, apart, 1)
    largest = [np.linalg.eigvalsh(by_chance[:, k:, k:])[:, -1] for k in range(modes)]
    return np.quantile(largest, 0.95, axis=1)


def clusters(values: np.ndarray, sd: np.ndarray) -> list[list[int]]:
    """Modes whose eigenvalues cannot be told apart: gaps below two standard deviations join neighbours.

    Examples
    --------
    >>> clusters(np.array([1.0, 1.1, 2.0]), np.array([0.1, 0.1, 0.1]))
    [[0, 1], [2]]
    """
    close = np.diff(values) < 2 * np.hypot(sd[1:], sd[:-1])
    groups = [[0]]
    for k, joined in enumerate(close.tolist(), start=1):
        groups[-1].append(k) if joined else groups.append([k])
    return groups


def matched(found: Modes, reference: np.ndarray, covariance: np.ndarray, groups: list[list[int]]) -> np.ndarray:
    """Vectors of the modes turned onto those of a reference (m, modes): signs, and the best rotation within groups.

    In a group of equal eigenvalues only the span of the functions means anything.

    Parameters
    ----------
    found : Modes
    reference : ndarray, (m, modes)
    covariance : ndarray, (m, m)
        In which functions are compared.
    groups : list of list of int
    """
    vectors = found.vectors.copy()
    for group in groups:
        span = found.vectors[:, :, group]
        u, _, vh = np.linalg.svd(span.mT @ (covariance @ reference[:, group]))
        vectors[:, :, group] = span @ (u @ vh)
    return vectors
