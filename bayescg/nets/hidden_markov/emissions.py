"""What a hidden state shows: one of several cells, or features around a mean."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["CellEmissions", "GaussianEmissions"]


class CellEmissions(nn.Module):
    """Each hidden state shows each of several cells with a probability of its own.

    Parameters
    ----------
    states, cells : int

    Examples
    --------
    >>> emissions = CellEmissions(2, 3)
    >>> emissions(torch.tensor([[0.0], [torch.nan]])).exp()
    tensor([[0.3333, 0.3333],
            [1.0000, 1.0000]], grad_fn=<ExpBackward0>)
    """

    def __init__(self, states: int, cells: int):
        super().__init__()
        self.states = states
        self.log_share = nn.Parameter(torch.zeros(states, cells))

    def forward(self, x: Tensor) -> Tensor:
        """Log probability ``(..., states)`` of the numbers ``(..., 1)`` of cells; 0 where one is not a number."""
        missing = x.isnan()
        cell = torch.where(missing, 0.0, x)[..., 0].long()
        return torch.where(missing, 0.0, self.log_share.log_softmax(1).T[cell])

    def expected(self, x: Tensor, states: Tensor) -> Tensor:
        """Log probability on average over probabilities of states ``(..., m)``, summed over all."""
        return (self._counts(x.flatten(0, -2), states.flatten(0, -2)) * self.log_share.log_softmax(1)).sum()

    def shown(self) -> Tensor:
        """Probabilities of the cells, ``(states, cells)``."""
        return self.log_share.detach().softmax(1)

    def begin(self, x: Tensor, states: Tensor) -> None:
        """Take the shares from cells ``(n, 1)`` and the probabilities of states ``(n, m)`` where they were seen."""
        counts = 1.0 + self._counts(x, states)
        with torch.no_grad():
            self.log_share.copy_((counts / counts.sum(1, keepdim=True)).log())

    def _counts(self, x: Tensor, states: Tensor) -> Tensor:
        cell = torch.where(x.isnan(), self.log_share.shape[1], x)[:, 0].long()
        counts = states.new_zeros(self.log_share.shape[1] + 1, states.shape[1]).index_add(0, cell, states)
        return counts[:-1].T.to(self.log_share)

    def curvature(self, visits: Tensor) -> Tensor:
        """Of the log likelihood in every parameter, were the hidden states known, visited so often ``(m,)``."""
        return (visits[:, None] * self.log_share.softmax(1)).flatten()


class GaussianEmissions(nn.Module):
    """Each hidden state shows features that are spread around its mean, independently of each other.

    Parameters
    ----------
    states, size : int
        Of standardised features.

    Examples
    --------
    >>> GaussianEmissions(2, 3)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, states: int, size: int):
        super().__init__()
        self.states = states
        self.mean = nn.Parameter(torch.zeros(states, size))
        self.log_width = nn.Parameter(torch.zeros(states, size))

    def forward(self, x: Tensor) -> Tensor:
        """Log density ``(..., states)`` of standardised features ``(..., size)``; 0 where they are not numbers."""
        missing = x.isnan().any(-1, keepdim=True)
        apart = (torch.where(missing, 0.0, x)[..., None, :] - self.mean) * (-self.log_width).exp()
        density = -0.5 * apart.square() - self.log_width - 0.5 * math.log(2 * math.pi)
        return torch.where(missing, 0.0, density.sum(-1))

    def expected(self, x: Tensor, states: Tensor) -> Tensor:
        """Log density on average over probabilities of states ``(..., m)``, summed over all."""
        return (states * self(x)).sum()

    def shown(self) -> Tensor:
        """Means of standardised features, ``(states, size)``."""
        return self.mean.detach()

    def begin(self, x: Tensor, states: Tensor) -> None:
        """Take means and widths from features ``(n, size)`` and the probabilities of states ``(n, m)`` there."""
        share = (states / states.sum(0).clamp_min(1.0)).T.to(x)
        mean = share @ x
        variance = torch.stack([s @ (x - m).square() for s, m in zip(share, mean, strict=True)])
        with torch.no_grad():
            self.mean.copy_(mean)
            self.log_width.copy_(0.5 * variance.clamp_min(1e-4).log())

    def curvature(self, visits: Tensor) -> Tensor:
        """Of the log likelihood in every parameter, were the hidden states known, visited so often ``(m,)``."""
        of_mean = visits[:, None] * (-2 * self.log_width).exp()
        return torch.cat([of_mean.flatten(), (2 * visits[:, None]).expand_as(self.mean).flatten()])
