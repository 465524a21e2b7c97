"""Linear regression in closed form, precise to rounding: weights, their prior and the noise from the evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LinearPosterior"]

_RATIOS = torch.linspace(-2.0, 24.0, 105, dtype=torch.float64)
"""Decadic logarithms of the ratios of the variance of weights to that of the noise that are tried."""
_FLOOR = 1e-9
"""Least noise, in units of the observations: rounding."""
_NOISELESS = 0.1
"""Share of the noise in the squared error of left-out observations below which it is misfit, and no noise."""


@dataclass(frozen=True)
class LinearPosterior:
    r"""Of weights :math:`w \sim N(0, a^2)` given observations :math:`y \sim N(X w, \sigma^2)`.

    Attributes
    ----------
    mean : Tensor, (k,)
    spread, noise : float
        a and :math:`\sigma`, of largest evidence.
    evidence : float
        Log density of the observations.
    left, roots, directions : Tensor
        Singular value decomposition of X: ``(n, r)``, ``(r,)``, ``(r, k)``.
    rest : Tensor, (n,)
        What the mean leaves of the observations.
    size : float
        Root mean square of these.

    References
    ----------
    Evidence: MacKay, "Bayesian interpolation", Neural Comput. 4, 415 (1992). Leaving out: Vehtari, Mononen, Tolvanen,
    Sivula, Winther, J. Mach. Learn. Res. 17, 1 (2016), section 3.

    Examples
    --------
    >>> x = torch.linspace(-1, 1, 50, dtype=torch.float64)
    >>> design = torch.stack([torch.ones_like(x), x, x**2], 1)
    >>> posterior = LinearPosterior.of(design, 1.0 + 2.0 * x + 0.1 * torch.cos(50 * x))
    >>> [round(float(w), 1) for w in posterior.mean], round(posterior.noise, 2)
    ([1.0, 2.0, 0.0], 0.07)
    """

    mean: Tensor
    spread: float
    noise: float
    evidence: float
    left: Tensor
    roots: Tensor
    directions: Tensor
    rest: Tensor
    size: float

    @classmethod
    def of(cls, design: Tensor, y: Tensor, weight: Tensor | None = None) -> LinearPosterior:
        """The posterior of largest evidence.

        Parameters
        ----------
        design : Tensor, (n, k) or (n, rows, k)
        y : Tensor, (n,) or (n, rows)
        weight : Tensor, (n,), optional
            What each counts.
        """
        if weight is not None:
            root = weight.to(y).sqrt().reshape(-1, *[1] * (y.ndim - 1))
            design, y = design * root[..., None], y * root
        design, y = design.flatten(0, -2), y.flatten()
        left, roots, directions = torch.linalg.svd(design, full_matrices=False)
        along = left.T @ y
        beyond = float((y - left @ along).square().sum())  # as an explicit residual: a difference of squares is noise
        n, size = len(y), float(y.square().mean().sqrt())
        floor = (_FLOOR * size) ** 2 + torch.finfo(y.dtype).tiny
        ratios = 10.0 ** _RATIOS.to(roots)
        left_over = 1 / (1 + ratios[:, None] * roots.square())
        square = (left_over * along.square()).sum(1) + beyond
        variance = (square / n).clamp_min(floor)
        logs = -0.5 * (n * (2 * math.pi * variance).log() + square / variance - left_over.log().sum(1))
        best = int(logs.argmax())
        ratio, sigma = float(ratios[best]), float(variance[best].sqrt())
        mean = directions.T @ (ratio * roots / (1 + ratio * roots.square()) * along)
        return cls(mean, sigma * ratio**0.5, sigma, float(logs[best]), left, roots, directions, y - design @ mean, size)

    def variance(self, design: Tensor) -> Tensor:
        """Of other observations ``(..., n)``, rows ``(..., n, k)`` of their design: that of the weights alone."""
        along = design @ self.directions.T
        beyond = design - along @ self.directions  # what no observation told of, which a difference would lose
        left = 1 / (1 + (self.spread * self.roots / self.noise).square())
        return self.spread**2 * (beyond.square().sum(-1) + (along.square() * left).sum(-1))

    def left_out(self, rows: int) -> tuple[Tensor, Tensor]:
        """Errors of groups of so many consecutive observations if each group had been left out, and their variances.

        Of the weights alone, without the noise; the prior and the noise are kept. Each ``(groups, rows)``.
        """
        gained = (self.spread * self.roots / self.noise).square()
        part = self.left.unflatten(0, (-1, rows))
        hat = (part * (gained / (1 + gained))) @ part.transpose(1, 2)
        inverse = torch.linalg.inv(torch.eye(rows).to(hat) - hat)
        errors = (inverse @ self.rest.unflatten(0, (-1, rows))[..., None])[..., 0]
        return errors, self.noise**2 * (inverse.diagonal(dim1=1, dim2=2) - 1).clamp_min(0.0)

    def noiseless(self, rows: int) -> bool:
        """Whether the noise is so small, beside the errors of left-out groups or at all, that it is misfit."""
        if self.noise < 100 * _FLOOR * self.size:
            return True
        return self.noise**2 < _NOISELESS * float(self.left_out(rows)[0].square().mean())
