"""How much wider than a posterior says errors are."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["power_law", "widening"]

_LEVEL, _QUANTILE = 0.9, 1.6448536269514722


def widening(errors: Tensor, variance: Tensor) -> float:
    """Factor on standard deviations with which intervals of 90 % hold that share of the errors.

    Examples
    --------
    >>> errors = 2.0 * torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    >>> round(widening(errors, torch.ones(10_000)), 1)
    2.0
    """
    return float((errors.abs() / variance.sqrt()).flatten().quantile(_LEVEL)) / _QUANTILE


def power_law(errors: Tensor, variance: Tensor) -> tuple[float, float]:
    r"""Factor and exponent of the variances :math:`a v^b` that errors have where a posterior says v.

    The exponent is the most probable one; with the factor, intervals of 90 % hold that share of the errors.

    Examples
    --------
    >>> noise = torch.randn(2, 20_000, generator=torch.Generator().manual_seed(0))
    >>> variance = noise[0].exp()
    >>> [round(value, 1) for value in power_law(noise[1] * variance**0.6, variance)]
    [1.0, 1.2]
    """
    square, log = errors.flatten().square(), variance.flatten().log()
    exponents = torch.linspace(0.4, 1.6, 49).to(log)
    scaled = (-exponents[:, None] * log).exp() * square
    best = float(exponents[(scaled.mean(1).log() + exponents * log.mean()).argmin()])
    return widening(errors, variance**best) ** 2, best
