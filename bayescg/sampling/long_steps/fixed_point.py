"""Implicit steps of many trajectories at once, by iteration: x = f(x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["DEPTH", "Solution", "begun", "fixed_point", "solved", "turned"]

DEPTH = 5
"""Steps that are combined."""
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


def fixed_point(function: Callable[[Tensor], Tensor], x: Tensor, tolerance: float, most: int = 100) -> Solution:
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

    References
    ----------
    D. G. Anderson, "Iterative procedures for nonlinear integral equations", J. ACM 12, 547 (1965); Walker, Ni, SIAM J.
    Numer. Anal. 49, 1715 (2011).

    Examples
    --------
    >>> fixed_point(torch.cos, torch.ones(1, 1, dtype=torch.float64), 1e-12).x
    tensor([[0.7391]], dtype=torch.float64)
    """
    return solved(begun(function, x), lambda *state: turned(function, *state), tolerance, most)


def begun(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, ...]:
    """State of an iteration that begins at x: x, f(x), its residual, histories of two kinds, size of the residual."""
    value = function(x)
    history = torch.zeros(*x.shape, DEPTH, dtype=x.dtype, device=x.device)
    return x, value, value - x, history, history, (value - x).abs().amax(1)


def turned(
    function: Callable[[Tensor], Tensor], value: Tensor, residual: Tensor, changes: Tensor, steps: Tensor
) -> tuple[Tensor, ...]:
    """The state one turn later, of a state without its first and last: one evaluation of the function."""
    gram = changes.transpose(1, 2) @ changes
    ridge = _RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + torch.finfo(gram.dtype).tiny
    eye = torch.eye(DEPTH, dtype=gram.dtype, device=gram.device)
    mix = torch.linalg.solve_ex(gram + ridge * eye, changes.transpose(1, 2) @ residual[..., None])[0]
    x = value - (steps @ mix)[..., 0]
    following = function(x)
    left = following - x
    changes = torch.cat([changes[..., 1:], (left - residual)[..., None]], 2)
    steps = torch.cat([steps[..., 1:], (following - value)[..., None]], 2)
    return x, following, left, changes, steps, left.abs().amax(1)


def solved(begin: tuple[Tensor, ...], turn: Callable[..., tuple[Tensor, ...]], tolerance: float, most: int) -> Solution:
    """Turns of a state, until every row is solved; rows that are stay as they are."""
    x, *state, residual = begin
    count = 1
    while count < most and bool((open_rows := ~(residual <= tolerance)).any()):
        ahead, *state, size = turn(*state)
        x = torch.where(open_rows[:, None], ahead, x)
        residual = torch.where(open_rows, size, residual)
        count += 1
    return Solution(x, count, residual)
