"""How many correlated frames are worth one independent draw."""

import numpy as np

from bayescg.errors import DataError

__all__ = ["neighbours_resemble", "seen_by_blocks", "statistical_inefficiency"]

_SIGMAS = 5.0


def statistical_inefficiency(series: np.ndarray, trajectory: np.ndarray | None = None, pooled: bool = False) -> float:
    r"""Statistical inefficiency, :math:`g = 1 + 2 \sum_t \rho(t)`: frames per independent draw, at least 1.

    The sum of the normalised autocorrelation :math:`\rho` stops by the initial monotone sequence estimator: sums of
    neighbouring pairs, :math:`\rho(2m) + \rho(2m+1)`, are positive and decreasing for a reversible process.

    Parameters
    ----------
    series : array, (n,) or (n, k)
        Observables of consecutive frames; of several columns the slowest counts. Columns that never change are
        ignored.
    trajectory : array of int, (n,), optional
        Which trajectory a frame belongs to; pairs across ends are not counted, the mean is common to all.
    pooled : bool
        Of several columns, that of all together: the sum of their autocovariances over the sum of their variances. What
        is wanted where each column is noise of its own, the slowest of which is so by chance.

    Returns
    -------
    float
        Never above twice the length of the longest trajectory: a larger one cannot be seen in the data.

    Raises
    ------
    DataError
        Fewer than 4 frames in every trajectory, values that are not finite, or no column that changes.

    Notes
    -----
    C. J. Geyer, "Practical Markov chain Monte Carlo", Statist. Sci. 7, 473 (1992), section 3.3.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=4000)
    >>> bool(statistical_inefficiency(noise) < 1.2)
    True
    >>> statistical_inefficiency(np.repeat(noise, 10)).__round__()
    10
    """
    columns = np.asarray(series, dtype=np.float64)
    columns = columns.reshape(len(columns), -1)
    ends = np.zeros(len(columns), dtype=np.int8) if trajectory is None else np.asarray(trajectory)
    if ends.shape != (len(columns),):
        raise DataError(f"trajectory= of shape {ends.shape} for {len(columns)} frames: give one integer a frame")
    if not np.isfinite(columns).all():
        raise DataError("the series holds values that are not finite")
    pieces = np.split(np.arange(len(columns)), np.flatnonzero(np.diff(ends)) + 1)
    if max(map(len, pieces)) < 4:
        raise DataError("a correlation time needs at least 4 consecutive frames")
    moving = [c for c in columns.T if np.ptp(c) > 0]
    if not moving:
        raise DataError("the series never changes, so it has no correlation time: give one that moves")
    deviations = [(c - c.mean())[:, None] for c in moving]
    return _inefficiency(np.hstack(deviations), pieces) if pooled else max(_inefficiency(d, pieces) for d in deviations)


def neighbours_resemble(series: np.ndarray, trajectory: np.ndarray) -> bool:
    r"""Whether frames that stand beside each other are alike, by more than chance makes of independent ones.

    The autocorrelation of some column of ``(n, k)`` from one frame to the next of its trajectory ``(n,)``, beyond five
    of the standard errors :math:`1/\sqrt{n}` that it has between independent frames.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(1000, 1))
    >>> one = np.zeros(1000, int)
    >>> neighbours_resemble(noise, one), neighbours_resemble(np.repeat(noise[::2], 2, axis=0), one)
    (False, True)
    """
    apart = np.asarray(series, np.float64)
    apart = apart - apart.mean(0)
    beside = np.diff(trajectory) == 0
    products = apart[1:][beside] * apart[:-1][beside]
    return bool((products.sum(0) > _SIGMAS * beside.sum() ** 0.5 * np.square(apart).mean(0)).any())


def seen_by_blocks(g: float, length: float) -> float:
    r"""Part of the variance of a mean that means of blocks show among each other: neighbours are correlated.

    :math:`1 - (g^2 - 1) / (2 g L)` for an exponential memory of statistical inefficiency g and blocks of L frames, and
    at least a half: shorter blocks have no error bar.

    Examples
    --------
    >>> seen_by_blocks(1.0, 10.0), seen_by_blocks(20.0, 100.0)
    (1.0, 0.90025)
    """
    return max(0.5, 1 - (g - 1 / g) / (2 * length))


def _inefficiency(deviation: np.ndarray, pieces: list[np.ndarray]) -> float:
    """Of columns (n, k), whose autocovariances are added up."""
    longest = max(map(len, pieces))
    sums, counts = np.zeros(longest), np.zeros(longest)
    for piece in pieces:
        n = len(piece)
        size = 1 << (2 * n - 1).bit_length()
        power = np.square(np.abs(np.fft.rfft(deviation[piece], size, axis=0))).sum(1)
        sums[:n] += np.fft.irfft(power, size)[:n]
        counts[:n] += n - np.arange(n)
    rho = sums / counts
    rho /= rho[0]
    paired = rho[: longest // 2 * 2].reshape(-1, 2).sum(axis=1)
    stop = int(np.argmax(paired <= 0)) if (paired <= 0).any() else len(paired)
    return float(np.clip(2 * np.minimum.accumulate(paired[:stop]).sum() - 1, 1.0, 2.0 * longest))
