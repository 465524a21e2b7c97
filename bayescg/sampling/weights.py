"""Arithmetic of importance weights, in logarithms: how far to go next, and whom to keep."""

import torch
from torch import Tensor

from bayescg.errors import SimulationError

__all__ = ["conditional_ess", "next_beta", "systematic"]


def conditional_ess(log_w: Tensor, log_v: Tensor) -> float:
    r"""Conditional effective sample size of factors v on weights w, :math:`(\sum W v)^2 / \sum W v^2` with
    :math:`\sum W = 1`: 1 where all v are equal.

    Unlike the effective sample size of w v, it says how much this one step degrades the sample, whatever the weights
    were before.

    Parameters
    ----------
    log_w, log_v : torch.Tensor, shape (n,)

    References
    ----------
    Zhou, Johansen, Aston, "Toward automatic model comparison: an adaptive sequential Monte Carlo approach", J. Comput.
    Graph. Stat. 25, 701 (2016), eq. (3.16).

    Examples
    --------
    >>> conditional_ess(torch.zeros(4), torch.tensor([0.0, 0.0, -100.0, -100.0]))
    0.5
    """
    log_w, log_v = log_w.double(), log_v.double()
    log_w = log_w - torch.logsumexp(log_w, 0)
    return float(torch.exp(2 * torch.logsumexp(log_w + log_v, 0) - torch.logsumexp(log_w + 2 * log_v, 0)))


def next_beta(beta: float, log_w: Tensor, log_ratio: Tensor, target: float) -> float:
    """Largest inverse temperature up to 1 that keeps the conditional effective sample size at `target`, by bisection.

    Parameters
    ----------
    beta : float
        The present one.
    log_w : torch.Tensor, shape (n,)
        Log weights at `beta`.
    log_ratio : torch.Tensor, shape (n,)
        Derivative of the log density by beta; minus infinity where the energy is infinite.
    target : float
        In (0, 1).

    Raises
    ------
    SimulationError
        No particle has a finite energy, or the smallest step is too large.

    Examples
    --------
    >>> ratio = torch.randn(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> beta = next_beta(0.0, torch.zeros(100_000), 10.0 * ratio, 0.9)
    >>> abs(beta - (-torch.tensor(0.9).log()).sqrt().item() / 10.0) < 1e-3  # exp(-variance) of Gaussian exponents
    True
    """
    possible = torch.isfinite(log_ratio) & torch.isfinite(log_w)
    if not bool(possible.any()):
        raise SimulationError("no particle of positive weight has a finite energy; choose a base nearer to the system")
    log_w, log_ratio = log_w[possible].double(), log_ratio[possible].double()
    step = 1.0 - beta
    if conditional_ess(log_w, step * log_ratio) >= target:
        return 1.0
    while conditional_ess(log_w, step * log_ratio) < target:
        step *= 0.5
    low, high = step, 2 * step
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if conditional_ess(log_w, middle * log_ratio) >= target else (low, middle)
    if beta + low <= beta:
        raise SimulationError(
            f"beta = {beta:g} cannot be raised without losing the sample: energies differ by up to "
            f"{float(log_ratio.max() - log_ratio.min()):.3g} kT; choose another base, or more moves"
        )
    return beta + low


def systematic(log_w: Tensor, generator: torch.Generator) -> Tensor:
    """Whom to keep: for each row, indices in which i appears n W_i times, rounded up or down, and so on average.

    Parameters
    ----------
    log_w : torch.Tensor, shape (islands, n)
    generator : torch.Generator

    Returns
    -------
    torch.Tensor of int64, shape (islands, n)
        In increasing order.

    References
    ----------
    Carpenter, Clifford, Fearnhead, "Improved particle filter for nonlinear problems", IEE Proc. Radar Sonar Navig. 146,
    2 (1999); Douc, Cappé, Moulines, "Comparison of resampling schemes for particle filtering" (2005).

    Examples
    --------
    >>> systematic(torch.tensor([[0.5, 0.25, 0.25, 0.0]]).log(), torch.Generator().manual_seed(0))
    tensor([[0, 0, 1, 2]])
    """
    n = log_w.shape[-1]
    edges = torch.softmax(log_w.double(), -1).cumsum(-1)
    edges = edges / edges[..., -1:]
    first = torch.rand((*log_w.shape[:-1], 1), generator=generator, dtype=torch.float64, device=log_w.device)
    points = (torch.arange(n, dtype=torch.float64, device=log_w.device) + first) / n
    return torch.searchsorted(edges, points, right=True).clamp_max(n - 1)
