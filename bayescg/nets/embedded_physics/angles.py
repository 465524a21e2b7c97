"""Latent angles of a molecule: a network that reads them, what networks see of them, and the atoms that they place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayescg.nets.mlp import MLP

__all__ = ["AngleReader", "Placement", "harmonics"]

_ATOM = 0.1
"""nm; how far atoms move, about."""

_PACE = 10.0
"""The width, a tenth of that in the end, follows sooner than the networks: as long as it is wide the angles need tell
nothing."""


def harmonics(angle: Tensor) -> Tensor:
    """Cosines and sines of angles ``(..., dim)`` and of their doubles, ``(..., 4 dim)``: what a network sees of them.

    Examples
    --------
    >>> harmonics(torch.zeros(1))
    tensor([1., 0., 1., 0.])
    """
    return torch.cat([angle.cos(), angle.sin(), (2 * angle).cos(), (2 * angle).sin()], -1)


class AngleReader(nn.Module):
    """Network that reads `angles` angles off its input, each with a standard deviation from `least` to pi / 2.

    The forward pass returns the mean angles and the standard deviations. A reader without a least width would make of a
    few angles a code for all of a configuration.

    Parameters
    ----------
    inputs, angles : int
    hidden : sequence of int
    least : float
        Radians.

    Examples
    --------
    >>> mean, sd = AngleReader(6, 2)(torch.zeros(5, 6))
    >>> mean.shape, sd.shape
    (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    def __init__(self, inputs: int, angles: int, hidden: Sequence[int] = (64, 64), least: float = 0.15):
        super().__init__()
        self.net, self.least = MLP(inputs, 3 * angles, hidden), least

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations given ``x`` of shape ``(..., inputs)``."""
        cosine, sine, width = self.net(x).chunk(3, -1)
        return torch.atan2(sine, cosine), self.least + (0.5 * math.pi - self.least) * torch.sigmoid(width)


class Placement(nn.Module):
    """Coordinates in nm around a reference, each normal, all of one width, given angles.

    So weak a decoder has one way only to be right: angles that move the molecule as a whole.

    Parameters
    ----------
    angles : int
    reference : Tensor, shape (coordinates,)
        nm.
    hidden : sequence of int
    """

    reference: Tensor

    def __init__(self, angles: int, reference: Tensor, hidden: Sequence[int] = (64, 64)):
        super().__init__()
        self.register_buffer("reference", reference, persistent=False)
        self.net = MLP(4 * angles, len(reference), hidden)
        self.log_sd = nn.Parameter(torch.zeros(()))

    def reset_parameters(self) -> None:
        """Begin with the width of `_ATOM`; the network resets itself."""
        nn.init.zeros_(self.log_sd)

    def forward(self, angle: Tensor) -> dist.TorchDistribution:
        """Distribution of the coordinates given angles ``(..., angles)``."""
        return dist.Normal(
            self.reference + _ATOM * self.net(harmonics(angle)), _ATOM * (_PACE * self.log_sd).exp()
        ).to_event(1)
