"""How windows of a ladder hang together: overlap of neighbours, and replicas that walk from end to end."""

import numpy as np

from bayescg.data.bias import Bias

__all__ = ["LITTLE_OVERLAP", "apart", "overlap", "round_trips"]

LITTLE_OVERLAP = 0.03
"""Of neighbouring windows, below which free energies across them are rough (Klimovich et al. 2015)."""


def overlap(bias: Bias, weights: np.ndarray) -> np.ndarray:
    r"""Overlap matrix of windows, :math:`O_{kl} = N_l \sum_n W_{nk} W_{nl}`, where the columns of W are the weights of
    all frames in each window: how likely a frame of window k is thought to come from window l. Rows add up to one.

    Parameters
    ----------
    bias : Bias
    weights : ndarray, shape (n,)
        Of the frames, by MBAR.

    Returns
    -------
    ndarray, shape (windows, windows)

    References
    ----------
    Klimovich, Shirts, Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015), who ask for 0.03 between neighbours.

    Examples
    --------
    >>> overlap(Bias(window=[0, 1], energies=np.zeros((2, 2))), np.ones(2))
    array([[0.5, 0.5], [0.5, 0.5]])
    """
    with np.errstate(divide="ignore"):  # a weight may be too small for a number
        log_w = np.log(weights)[:, None] - bias.energies
    share = np.exp(log_w - log_w.max(0))
    share /= share.sum(0)
    return share.T @ share * np.bincount(bias.window, minlength=bias.windows)


def apart(bias: Bias) -> list[int]:
    """Windows k of whose frames none would be more at home in k + 1 than any frame of k + 1, or that have no frame.

    Examples
    --------
    >>> energies = 0.5 * (np.array([-0.1, 0.1, 7.9, 8.1])[:, None] - np.array([0.0, 8.0])) ** 2
    >>> apart(Bias(window=[0, 0, 1, 1], energies=energies)), apart(Bias(window=[0, 1, 0, 1], energies=energies))
    ([0], [])
    """
    pairs = []
    for k in range(bias.windows - 1):
        dearer = bias.energies[:, k] - bias.energies[:, k + 1]
        here, there = dearer[bias.window == k], dearer[bias.window == k + 1]
        if not len(here) or not len(there) or here.max() < there.min():
            pairs.append(k)
    return pairs


def round_trips(window: np.ndarray, replica: np.ndarray, windows: int) -> int:
    """Walks of replicas from one end of a ladder to the other and back, as far as frames show, of all together.

    Parameters
    ----------
    window, replica : ndarray of int, shape (n,)
        Of frames in the order of time, for each replica.
    windows : int

    Examples
    --------
    >>> round_trips(np.array([0, 1, 2, 1, 0, 2, 0]), np.zeros(7, dtype=int), 3)
    2
    """
    ends = np.flatnonzero((window == 0) | (window == windows - 1))
    ends = ends[np.argsort(replica[ends], kind="stable")]
    crossed = (np.diff(window[ends]) != 0) & (np.diff(replica[ends]) == 0)
    return int((np.bincount(replica[ends][1:][crossed]) // 2).sum()) if crossed.any() else 0
