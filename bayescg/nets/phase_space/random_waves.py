"""Cosines of random wave vectors in phase space: a Gaussian process as functions with Gaussian weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["RandomWaves"]


class RandomWaves(nn.Module):
    r"""Functions of positions u and momenta v even in v, :math:`\sqrt{4/K}\,\cos(a_k \cdot u + c_k) \cos(b_k \cdot v)`.

    Their weighted sum with independent Gaussian weights is a Gaussian process, in the limit of many, whose covariance
    is a squared exponential in u and the even part of one in v, or a sum of such: of each length in `scales` there are
    as many functions. Not `even`, they are :math:`\sqrt{2/K}\,\cos(a_k \cdot u + b_k \cdot v + c_k)`.

    Parameters
    ----------
    dim : int
        Number of positions, and of momenta.
    size : int
        Number K of functions.
    even : bool
    scales : sequence of float
        In units of `lengths`.
    seed : int
        Of the wave vectors, which are no parameters: they stay.

    Attributes
    ----------
    lengths : Tensor, (2,)
        Of positions and of momenta, over which functions change.
    reads_scaled : bool
        Whether they read states in units in which all are of size one, or as they are.

    References
    ----------
    Rahimi, Recht, "Random features for large-scale kernel machines", NIPS 20 (2007).

    Examples
    --------
    >>> waves = RandomWaves(2, 50).float()
    >>> u, v = torch.ones(7, 2), torch.ones(7, 2)
    >>> waves(u, v).shape, bool((waves(u, -v) == waves(u, v)).all())
    (torch.Size([7, 50]), True)
    """

    reads_scaled = True
    a: Tensor
    b: Tensor
    phase: Tensor
    lengths: Tensor

    def __init__(self, dim: int, size: int, even: bool = True, scales: Sequence[float] = (1.0, 2.0), seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        each = torch.tensor(scales, dtype=torch.float64)[torch.arange(size) * len(scales) // size, None]
        self.size, self.even = size, even
        self.register_buffer("a", torch.randn(size, dim, generator=generator, dtype=torch.float64) / each)
        self.register_buffer("b", torch.randn(size, dim, generator=generator, dtype=torch.float64) / each)
        self.register_buffer("phase", 2 * math.pi * torch.rand(size, generator=generator, dtype=torch.float64))
        self.register_buffer("lengths", torch.ones(2, dtype=torch.float64))

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        """Values ``(..., size)`` at scaled positions and momenta ``(..., dim)``."""
        along_u, along_v = self._angles(u, v)
        if self.even:
            return (1 / self.size) ** 0.5 * ((along_u + along_v).cos() + (along_u - along_v).cos())
        return (2 / self.size) ** 0.5 * (along_u + along_v).cos()

    def slopes(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives of each by positions and by momenta, ``(..., size, dim)``."""
        along_u, along_v = self._angles(u, v)
        if self.even:
            by_u, by_v = -along_u.sin() * along_v.cos(), -along_u.cos() * along_v.sin()
        else:
            by_u = by_v = -(along_u + along_v).sin()
        norm = ((4 if self.even else 2) / self.size) ** 0.5
        a, b = norm * self.a / self.lengths[0], norm * self.b / self.lengths[1]
        return by_u[..., None] * a, by_v[..., None] * b

    def _angles(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return (u / self.lengths[0]) @ self.a.T + self.phase, (v / self.lengths[1]) @ self.b.T
