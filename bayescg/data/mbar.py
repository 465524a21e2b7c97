r"""The multistate Bennett acceptance ratio: one set of weights for frames of many biased windows."""

import numpy as np

from bayescg.errors import DataError

__all__ = ["mbar", "mbar_draws"]

_MOST = 200
_APART = "some have no frame in common with the others; put windows closer together, or sample longer"


def mbar(energies: np.ndarray, window: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    r"""Weights of frames and free energies of windows.

    Frame i, felt by window k with the bias :math:`b_{ik}` (kT), weighs
    :math:`w_i = 1 / \sum_k N_k e^{f_k - b_{ik}}` where :math:`e^{-f_k} = \sum_i w_i e^{-b_{ik}}`, the minimum of a
    convex function of f, found by Newton's method.

    Parameters
    ----------
    energies : ndarray, (n, windows)
        In kT.
    window : ndarray of int, (n,)
        In which each frame was simulated.
    weights : ndarray, (n,), optional
        How often each frame counts: that of a bootstrap.

    Returns
    -------
    log_weights : ndarray, (n,)
        Of the unbiased ensemble; their exponentials add up to one, `weights` counted.
    f : ndarray, (windows,)
        In kT, that of the first window zero. Of windows without a frame as the frames of the others tell.

    Raises
    ------
    DataError
        No solution is found: some windows have nothing in common with the others.

    References
    ----------
    Shirts, Chodera, "Statistically optimal analysis of samples from multiple equilibrium states", J. Chem. Phys. 129,
    124105 (2008), eqs. (11) and (C2)-(C6).

    Examples
    --------
    >>> x = np.r_[-1.0, -0.5, 0.0, 0.0, 0.5, 1.0]
    >>> log_weights, f = mbar(np.stack([(x + 0.5) ** 2, (x - 0.5) ** 2], 1), np.r_[0, 0, 0, 1, 1, 1])
    >>> float(np.exp(log_weights).sum().round(12)), f.round(12) + 0.0
    (1.0, array([0., 0.]))
    """
    b, boltzmann = _felt(energies)
    u = np.ones(len(b)) if weights is None else np.asarray(weights, dtype=np.float64)
    counts = np.bincount(window, u, minlength=b.shape[1])
    f = _bennett(b, np.asarray(window), counts)
    value, gradient, hessian = _objective(boltzmann, u, counts, f)
    if not np.isfinite(value):
        raise DataError(f"the free energies of the windows cannot be told: {_APART}")
    for _ in range(_MOST):
        if not np.isfinite(hessian).all():
            raise DataError(f"the free energies of the windows do not converge: {_APART}")
        step = np.linalg.lstsq(hessian[1:, 1:], gradient[1:])[0]
        length = 1.0
        while True:
            trial = np.r_[f[0], f[1:] - length * step]
            later = _objective(boltzmann, u, counts, trial)
            if later[0] <= value + 1e-12 * abs(value) or length < 1e-6:
                break
            length /= 2
        moved, f, (value, gradient, hessian) = np.abs(trial - f).max(), trial, later
        if moved < 1e-11 * (1 + np.abs(f).max()):
            break
    else:
        raise DataError(f"the free energies of the windows do not converge: {_APART}")
    log_w = b.min(1) - np.log(boltzmann @ (counts * np.exp(f)))
    with np.errstate(divide="ignore"):
        log_u = np.log(u)
    f = -_log_sum(log_w[:, None] + log_u[:, None] - b)
    return log_w - _log_sum(log_w + log_u), f - f[0]


def mbar_draws(
    energies: np.ndarray, window: np.ndarray, f: np.ndarray, blocks: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Free energies of the windows where blocks of frames count differently, for many choices at once.

    Parameters
    ----------
    energies, window
        As for `mbar`.
    f : ndarray, (windows,)
        Solution for equal weights, from which the draws are found.
    blocks : ndarray of int, (n,)
        Block of each frame.
    weights : ndarray, (draws, blocks)
        What the frames of each block count.

    Returns
    -------
    ndarray, (draws, windows)

    Raises
    ------
    DataError
        As `mbar`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> window = np.repeat([0, 1], 100)
    >>> x = rng.normal(window - 0.5)
    >>> energies, blocks = np.stack([(x + 0.5) ** 2, (x - 0.5) ** 2], 1) / 2, np.arange(200) % 5
    >>> weights = rng.dirichlet(np.ones(5), 3)
    >>> draws = mbar_draws(energies, window, mbar(energies, window)[1], blocks, weights)
    >>> bool(np.allclose(draws[2], mbar(energies, window, weights[2][blocks])[1], atol=1e-6))
    True
    """
    boltzmann = _felt(energies)[1]
    count = weights.shape[1]
    held = np.zeros((count, len(f)))
    np.add.at(held, (blocks, window), 1.0)
    share = boltzmann * (held.sum(0) * np.exp(f))
    share /= share.sum(1, keepdims=True)
    curvature = np.stack([_hessian(share[blocks == k], None) for k in range(count)])
    inverse = np.linalg.pinv(np.einsum("db,bkl->dkl", weights, curvature)[:, 1:, 1:], hermitian=True)
    counts, free = weights @ held, np.repeat(f[None], len(weights), 0)
    rows = max(1, 4_000_000 // len(weights))
    for _ in range(_MOST):
        factors, sums = counts * np.exp(free), np.zeros_like(free)
        for start in range(0, len(boltzmann), rows):
            part = boltzmann[start : start + rows]
            sums += (weights[:, blocks[start : start + rows]] / (factors @ part.T)) @ part
        step = np.einsum("dkl,dl->dk", inverse, (factors * sums - counts)[:, 1:]).clip(-1.0, 1.0)
        free[:, 1:] -= step
        if np.abs(step).max() < 1e-7:
            return free
    raise DataError(f"the free energies of the windows do not converge in some draws: {_APART}")


def _felt(energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bias energies, and their Boltzmann factors over the largest of each frame."""
    b = np.asarray(energies, dtype=np.float64)
    return b, np.exp(b.min(1, keepdims=True) - b)


def _bennett(b: np.ndarray, window: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Where to begin: from each window to the next that has frames by Bennett's ratio of these two."""
    f, previous = np.zeros(b.shape[1]), None
    for k in np.flatnonzero(counts > 0):
        if previous is not None:
            dearer = [b[window == p, k] - b[window == p, previous] for p in (previous, k)]
            low, high = min(d.min() for d in dearer), max(d.max() for d in dearer)
            for _ in range(40):
                middle = (low + high) / 2
                below = _logistic(middle - dearer[0]).mean() < _logistic(dearer[1] - middle).mean()
                low, high = (middle, high) if below else (low, middle)
            f[k] = f[previous] + middle
        previous = k
    return f - f[0]


def _objective(
    boltzmann: np.ndarray, u: np.ndarray, counts: np.ndarray, f: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    share = boltzmann * (counts * np.exp(f))
    total = share.sum(1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # of windows so far apart that numbers end, told by the value
        share /= total
        return float(u @ np.log(total[:, 0]) - counts @ f), u @ share - counts, _hessian(share, u)


def _hessian(share: np.ndarray, u: np.ndarray | None) -> np.ndarray:
    weighted = share if u is None else share * u[:, None]
    return np.diag(weighted.sum(0)) - share.T @ weighted


def _logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _log_sum(a: np.ndarray) -> np.ndarray:
    """Log of the sum of exponentials along the first axis."""
    largest = a.max(0)
    return largest + np.log(np.exp(a - largest).sum(0))
