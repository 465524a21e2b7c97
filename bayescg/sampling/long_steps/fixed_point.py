"""Implicit steps of many trajectories at once, by iteration: x = f(x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Solution", "fixed_point"]

_DEPTH = 5
_RIDGE = 1e-14


class Solution(NamedTuple):
    """Where an iteration ended.

    Attributes
    ----------
    x : Tensor, (n, size)
    iterations : int
        Evaluations of the function, of all at once.
    residual : Tensor, (n,)
        Largest component of :math:`|f(x) - x|` of each.
    """

    x: Tensor
    iterations: int
    residual: Tensor


def fixed_point(
    function: Callable[[Tensor], Tensor], x: Tensor, tolerance: float, most: int = 100, depth: int = _DEPTH
) -> Solution:
    r"""Solve :math:`x = f(x)` by Anderson acceleration, each row by itself.

    Of the last steps those combined residuals are smallest that sum to one; the combination goes on. It converges where
    plain iteration does, in fewer steps, and often where that does not.

    Parameters
    ----------
    function : callable
        From ``(n, size)`` to ``(n, size)``.
    x : Tensor, (n, size)
        Where to begin.
    tolerance : float
        Of every component.
    most : int
        Evaluations after which it ends, converged or not: the residual tells.
    depth : int
        Steps that are combined; 0: plain iteration.

    References
    ----------
    D. G. Anderson, "Iterative procedures for nonlinear integral equations", J. ACM 12, 547 (1965); Walker, Ni, SIAM J.
    Numer. Anal. 49, 1715 (2011).

    Examples
    --------
    >>> fixed_point(torch.cos, torch.ones(1, 1, dtype=torch.float64), 1e-12).x
    tensor([[0.7391]], dtype=torch.float64)
    """
    changes, steps = [], []
    value = function(x)
    residual, count = value - x, 1
    while count < most and not bool((residual.abs() <= tolerance).all()):
        if changes and depth:
            a = torch.stack(changes[-depth:], -1)  # (n, size, m)
            gram = a.transpose(1, 2) @ a
            scale = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + torch.finfo(a.dtype).tiny
            ridge = _RIDGE * scale * torch.eye(a.shape[-1]).to(a)
            mix = torch.linalg.solve(gram + ridge, a.transpose(1, 2) @ residual[..., None])
            ahead = value - (torch.stack(steps[-depth:], -1) @ mix)[..., 0]
        else:
            ahead = value
        ahead = torch.where((residual.abs() <= tolerance).all(-1, keepdim=True), x, ahead)
        following = function(ahead)
        count += 1
        changes.append((following - ahead) - residual)
        steps.append(following - value)
        x, value, residual = ahead, following, following - ahead
    return Solution(x, count, residual.abs().amax(-1))
