"""Parameters of largest posterior density of a chain whose transitions were counted."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jacfwd

from bayescg.recording.functional import forward_mode

__all__ = ["fisher_scoring"]

_MOST = 60
_ENOUGH = 1e-8
_HALVINGS = 12


def fisher_scoring(log_p: Callable[[Tensor], Tensor], counts: Tensor, start: Tensor) -> tuple[Tensor, bool]:
    r"""Maximum over w of :math:`\sum_{ij} C_{ij} \ln P_{ij}(w) - |w|^2 / 2`.

    Steps are Newton's, with the expected information for the curvature, halved until they lead uphill.

    Parameters
    ----------
    log_p : callable
        From parameters (k,) to log probabilities (..., n, n).
    counts : Tensor, (..., n, n)
    start : Tensor, (k,)

    Returns
    -------
    w : Tensor, (k,)
    converged : bool

    Examples
    --------
    >>> counts = torch.tensor([[300.0, 100.0], [100.0, 100.0]])
    >>> chain = lambda w: torch.log_softmax(torch.stack([torch.zeros(2), w], 1), 1)
    >>> w, converged = fisher_scoring(chain, counts, torch.zeros(2))
    >>> w.round(decimals=2), converged
    (tensor([-1.0800,  0.0000]), True)
    """
    w, starts = start, counts.sum(-1)
    density = lambda w: float((counts * log_p(w)).sum() - 0.5 * w.square().sum())  # noqa: E731
    value = density(w)
    for _ in range(_MOST):
        with forward_mode():
            slopes, probabilities = jacfwd(log_p)(w), log_p(w).exp()
        gradient = counts.flatten() @ slopes.flatten(0, -2) - w
        rows = (slopes * (starts[..., None] * probabilities).sqrt()[..., None]).flatten(0, -2)
        step = torch.linalg.solve(rows.T @ rows + torch.eye(len(w)).to(w), gradient)
        if float(gradient @ step) < _ENOUGH * (1 + abs(value)):
            return w, True
        for halving in range(_HALVINGS):
            trial = w + step / 2**halving
            there = density(trial)
            if there > value:
                break
        else:
            break
        w, value = trial, there
    return w, False
