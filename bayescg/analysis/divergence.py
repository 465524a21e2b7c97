"""How far apart two distributions are."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayescg.errors import DataError

__all__ = ["jensen_shannon"]


def jensen_shannon(first: Any, second: Any) -> float:
    r"""Jensen-Shannon divergence of two histograms, in nats: 0 where they agree, :math:`\ln 2` where nothing is common.

    :math:`\tfrac12 KL(p \| m) + \tfrac12 KL(q \| m)` with :math:`m = (p + q) / 2`, which is finite also where one of
    them is empty. Histograms of n and m independent draws of one distribution in K bins have about
    :math:`(K - 1) (1/n + 1/m) / 8`.

    Parameters
    ----------
    first, second : array
        Counts or weights, of the same bins; each is divided by its sum.

    Raises
    ------
    DataError
        The bins are not the same, a weight is negative, or one of them is empty.

    References
    ----------
    Lin, IEEE Trans. Inf. Theory 37, 145 (1991), eq. (3.1).

    Examples
    --------
    >>> jensen_shannon([1, 1], [10, 10]), round(jensen_shannon([1, 0], [0, 1]), 4)
    (0.0, 0.6931)
    """
    p, q = (np.asarray(values, dtype=np.float64).ravel() for values in (first, second))
    if p.shape != q.shape or not all((v >= 0).all() and v.sum() > 0 for v in (p, q)):
        raise DataError(f"two histograms of the same bins, none empty, are compared; these have {p.size} and {q.size}")
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    parts = (np.where(v > 0, v * np.log(np.where(v > 0, v, 1.0) / np.where(v > 0, middle, 1.0)), 0.0) for v in (p, q))
    return float(sum(part.sum() for part in parts) / 2)
