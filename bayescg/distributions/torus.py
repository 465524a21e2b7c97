"""Densities of angles: normal ones wrapped around the circle, and their mixtures."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from bayescg.distributions.mixture import StratifiedMixture

__all__ = ["WrappedMixture", "WrappedNormal", "wrapped"]

_IMAGES = (-1.0, 0.0, 1.0)
"""Turns that count: those left out weigh less than 1e-5 for standard deviations up to pi / 2."""


def wrapped(angle: Tensor) -> Tensor:
    """The same angle from -pi to pi.

    Examples
    --------
    >>> wrapped(torch.tensor([0.5, 3.5, -9.0])).round(decimals=4)
    tensor([ 0.5000, -2.7832, -2.7168])
    """
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def _log_density(angle: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    """Of each angle apart, which follows a normal density wrapped around the circle."""
    away = wrapped(angle - mean)
    images = torch.stack([((away + 2 * math.pi * turn) / sd).square() for turn in _IMAGES])
    return torch.logsumexp(-0.5 * images, 0) - sd.log() - 0.5 * math.log(2 * math.pi)


class WrappedNormal(TorchDistribution):
    """Independent angles from -pi to pi, each normal and wrapped around the circle.

    Parameters
    ----------
    loc, scale : Tensor, shape (..., dim)
        Mean directions, and standard deviations before wrapping, at most pi / 2; in radians.

    Examples
    --------
    >>> near = WrappedNormal(torch.tensor([[3.1]]), torch.tensor([[0.2]]))
    >>> near.batch_shape, near.event_shape, near.sample((5,)).abs().max() < math.pi
    (torch.Size([1]), torch.Size([1]), tensor(True))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor):
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1:], validate_args=False)

    @property
    def support(self) -> Any:
        """All angles, which may also be named with turns added."""
        return constraints.real_vector

    @property
    def mean(self) -> Tensor:
        """Mean directions, from -pi to pi."""
        return wrapped(self.loc)

    @property
    def variance(self) -> Tensor:
        """Of angles around the mean direction, before they are wrapped."""
        return self.scale.square()

    def expand(self, batch_shape: Any, _instance: Any = None) -> WrappedNormal:
        """The same, repeated."""
        shape = (*torch.Size(batch_shape), *self.event_shape)
        return WrappedNormal(self.loc.expand(shape), self.scale.expand(shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws ``(*sample_shape, ..., dim)``."""
        shape = (*torch.Size(sample_shape), *self.loc.shape)
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return wrapped(self.loc + self.scale * noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density over the torus, ``(...)`` for ``(..., dim)``."""
        return _log_density(value, self.loc, self.scale).sum(-1)


class WrappedMixture(StratifiedMixture):
    r"""`StratifiedMixture` of angles, each component normal and wrapped around the circle.

    Examples
    --------
    >>> logits, mean = torch.tensor([0.5, 0.5]).log(), torch.tensor([[-1.0], [3.1]])
    >>> q = WrappedMixture(logits, mean, torch.full((2, 1), 0.1), torch.tensor([0, 1]))
    >>> once, again = (q.log_prob(torch.tensor([angle])) for angle in (3.2, 3.2 - 2 * math.pi))
    >>> bool((once - again).abs() < 1e-3)
    True
    """

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """One draw of each row's component, ``(*sample_shape, B, dim)``."""
        return wrapped(super().rsample(sample_shape))

    def _log_density(self, value: Tensor, log_weights: Tensor) -> Tensor:
        each = _log_density(value.unsqueeze(-2), self.mean_of, self.sd_of).sum(-1)
        return torch.logsumexp(log_weights + each, -1)
