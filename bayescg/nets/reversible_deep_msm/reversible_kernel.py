"""A symmetric joint of states with row sums that are prescribed, and the spectrum of the kernel that it makes."""

import torch
from torch import Tensor

__all__ = ["log_kernel", "transfer_eigenvalues"]

_SWEEPS = 40


def log_kernel(log_k: Tensor, log_c: Tensor) -> Tensor:
    r"""Logs of :math:`S = \mathrm{diag}(c)^{-1} Y \mathrm{diag}(c)^{-1}`, Y being K scaled to row sums c.

    Rows and columns of the symmetric K, ``(m, m)``, are scaled alike by 40 symmetric Sinkhorn sweeps. All is in logs.

    References
    ----------
    P. A. Knight, D. Ruiz, B. Uçar, "A symmetry preserving algorithm for matrix scaling", SIAM J. Matrix Anal. Appl. 35,
    931 (2014).

    Examples
    --------
    >>> c = torch.tensor([0.75, 0.25])
    >>> s = log_kernel(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), c.log()).exp()
    >>> (c[:, None] * s * c).sum(1)
    tensor([0.7500, 0.2500])
    """
    u = 0.5 * (log_c - log_k.diagonal())
    for _ in range(_SWEEPS):
        u = 0.5 * (u + log_c - torch.logsumexp(log_k + u, 1))
    return log_k + (u - log_c)[:, None] + (u - log_c)


def transfer_eigenvalues(chi: Tensor, kernel: Tensor) -> Tensor:
    r"""Eigenvalues of :math:`G^{1/2} S G^{1/2}`, descending, without the 1 of equilibrium; G is the mean of chi chi^T.

    Parameters
    ----------
    chi : Tensor, (n, m)
        Probabilities of states at frames.
    kernel : Tensor, (m, m)
        S.

    Examples
    --------
    >>> transfer_eigenvalues(torch.eye(2), torch.tensor([[1.8, 0.2], [0.2, 1.8]]))
    tensor([0.8000])
    """
    values, axes = torch.linalg.eigh(chi.T @ chi / len(chi))
    root = axes * values.clamp_min(0).sqrt() @ axes.T
    return torch.linalg.eigvalsh(root @ kernel @ root).flip(0)[1:]
