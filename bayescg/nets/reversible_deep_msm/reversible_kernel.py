"""A symmetric joint of states with row sums that are prescribed, and the spectrum of the kernel that it makes."""

import torch
from torch import Tensor

__all__ = ["evened", "log_free_joint", "log_kernel", "log_occupation", "log_score", "transfer_eigenvalues"]

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


def log_free_joint(log_k: Tensor) -> Tensor:
    """Log Y of sum 1 from the symmetric log K, ``(m, m)``, where no row sums are prescribed.

    Examples
    --------
    >>> log_free_joint(torch.zeros(2, 2)).exp()
    tensor([[0.2500, 0.2500],
            [0.2500, 0.2500]])
    """
    return log_k - torch.logsumexp(log_k.flatten(), 0)


def evened(joint: Tensor) -> Tensor:
    """Y, ``(m, m)``, symmetric and of sum 1 to the last digit.

    Examples
    --------
    >>> evened(torch.tensor([[2.0, 1.0], [0.0, 1.0]]))
    tensor([[0.5000, 0.1250],
            [0.1250, 0.2500]])
    """
    y = joint.double()
    return ((y + y.T) / (2 * y.sum())).to(joint)


def log_score(now: Tensor, later: Tensor, log_s: Tensor) -> Tensor:
    r"""Log of :math:`\chi(x)^T S \chi(y)`, ``(n,)``.

    Parameters
    ----------
    now, later : Tensor, (n, m)
        Logs of chi(x) and chi(y).
    log_s : Tensor, (m, m)
        Log S.

    Examples
    --------
    >>> log_score(torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor([[2.0]]))
    tensor([2.])
    """
    return torch.logsumexp(now + torch.logsumexp(log_s + later[:, None], -1), -1)


def log_occupation(now: Tensor, later: Tensor, weight: Tensor | None = None) -> Tensor:
    """Logs ``(m,)`` of how often states occur in pairs, given those of their probabilities at both ends ``(n, m)``.

    All is in logs: next to 1 / c^2 of a state that no frame is in, nothing else would count.

    Parameters
    ----------
    now, later : Tensor, (n, m)
    weight : Tensor, (n,), optional
        Of the pairs.

    Examples
    --------
    >>> log_occupation(torch.eye(2).log(), torch.tensor([[1.0, 0.0], [1.0, 0.0]]).log()).exp()
    tensor([0.7500, 0.2500])
    """
    w = now.new_ones(len(now)) if weight is None else weight
    share = (0.5 * w / w.sum()).log().repeat(2)[:, None]
    return torch.logsumexp(share + torch.cat([now, later]), 0)


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
