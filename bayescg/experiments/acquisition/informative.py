"""Which of many labels to ask for together: those that tell most of the parameters, each beside the others."""

import numpy as np

__all__ = ["most_informative"]


def most_informative(rows: np.ndarray, batch: int) -> list[int]:
    r"""Candidates whose labels tell most together, by greedy choice.

    A candidate c has rows :math:`G_c`: what its labels deviate by in each draw of the parameters, in units of their
    noise, so that :math:`G_c G_d^T` is the covariance of the labels of two of them. What the labels of a set tell is
    :math:`\frac12 \ln \det(1 + G G^T)`; a near-duplicate of one that is already in it adds next to nothing. The greedy
    choice reaches at least 63 % of the best set's, for the determinant is submodular.

    Parameters
    ----------
    rows : ndarray, (candidates, labels, draws)
    batch : int

    Returns
    -------
    list of int
        In the order of their choice; fewer where there are fewer candidates.

    References
    ----------
    Krause, Singh, Guestrin, "Near-optimal sensor placements in Gaussian processes", J. Mach. Learn. Res. 9, 235 (2008).
    Kirsch, van Amersfoort, Gal, "BatchBALD", NeurIPS 2019.

    Examples
    --------
    >>> twins_and_another = np.array([[[3.0, 0.0]], [[3.0, 0.01]], [[0.0, 1.0]]])
    >>> most_informative(twins_and_another, 2)
    [1, 2]
    """
    rows = np.asarray(rows, dtype=np.float64).copy()
    labels, order, left = np.eye(rows.shape[1]), list[int](), np.ones(len(rows), dtype=bool)
    for _ in range(min(batch, len(rows))):
        gain = np.linalg.slogdet(labels + rows @ rows.transpose(0, 2, 1))[1]
        best = int(np.where(left, gain, -np.inf).argmax())
        order.append(best)
        left[best] = False
        # what remains uncertain once its labels are known: rows times a root of (1 + G^T G)^-1
        _, s, vt = np.linalg.svd(rows[best], full_matrices=False)
        rows -= (rows @ (vt.T * (1.0 - 1.0 / np.sqrt(1.0 + s**2)))) @ vt
    return order
