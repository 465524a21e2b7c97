"""Symmetric joints of states, by as many logarithms as are free."""

import torch
from torch import Tensor

__all__ = ["joint_root", "symmetric_matrix", "symmetric_places"]


def symmetric_places(size: int) -> Tensor:
    """Which of its ``size (size + 1) / 2`` entries stands where in a symmetric matrix, ``(size, size)``.

    Examples
    --------
    >>> entries = torch.tensor([1.0, 2.0, 3.0])
    >>> entries[symmetric_places(2)]
    tensor([[1., 2.],
            [2., 3.]])
    """
    rows, columns = torch.tril_indices(size, size)
    places = torch.zeros(size, size, dtype=torch.long)
    places[rows, columns] = places[columns, rows] = torch.arange(len(rows))
    return places


def symmetric_matrix(entries: Tensor, size: int) -> Tensor:
    """Symmetric matrix ``(size, size)`` of the entries of its lower half.

    Examples
    --------
    >>> symmetric_matrix(torch.tensor([1.0, 2.0, 3.0]), 2)
    tensor([[1., 2.],
            [2., 3.]])
    """
    rows, columns = torch.tril_indices(size, size)
    return entries.new_zeros(size, size).index_put((rows, columns), entries).index_put((columns, rows), entries)


def joint_root(log_joint: Tensor, steps: Tensor, shape: float, least: float) -> Tensor:
    """Root of the inverse curvature of a log density in the logarithms of a joint, ``(k, k)``, where steps are known.

    Parameters
    ----------
    log_joint : Tensor, (k,)
        Of the entries of the joint, up to its sum.
    steps : Tensor, (m, m)
        How often which state followed which.
    shape : float
        And rate, of the Gamma variates that the entries are a priori.
    least : float
        That the curvature has in every direction.

    Examples
    --------
    >>> joint_root(torch.zeros(3), torch.zeros(2, 2), 1.0, 0.0)
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    leaves, places = steps.sum(1), symmetric_places(len(steps)).to(log_joint.device)
    rows = torch.zeros(len(steps), len(log_joint)).to(steps).scatter(1, places, log_joint[places].softmax(1))
    curvature = (leaves @ rows + shape * log_joint.exp()).diag() - (rows * leaves[:, None]).T @ rows
    values, axes = torch.linalg.eigh(curvature)
    return axes / (values + least).clamp_min(max(least, 1e-12)).sqrt() @ axes.T
