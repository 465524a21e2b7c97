"""Whitening: an affine map after which coordinates are uncorrelated and of unit variance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Whiten"]


class Whiten(nn.Module):
    """Affine map onto the principal axes, each of mean zero and unit variance, with the statistics as buffers.

    Parameters
    ----------
    size : int
        Number of coordinates.
    rank : int, optional
        Number of principal axes that are kept; None for all.

    Examples
    --------
    >>> x = torch.randn(1000, 3) @ torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.1, 0.0], [0.0, 0.0, 5.0]]) + 7
    >>> whiten = Whiten(3)
    >>> whiten.set(x.mean(0), x.T.cov())
    >>> close = lambda a, b: torch.allclose(a, b, atol=1e-3)
    >>> close(whiten(x).T.cov(), torch.eye(3)), close(whiten.inverse(whiten(x)), x)
    (True, True)
    """

    mean: Tensor
    matrix: Tensor
    back: Tensor

    def __init__(self, size: int, rank: int | None = None):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("matrix", torch.eye(size, rank or size))
        self.register_buffer("back", torch.eye(rank or size, size))

    @staticmethod
    def rank(covariance: Tensor, least: float = 1e-6) -> int:
        """Number of principal axes whose variance, of coordinates of unit variance, is above `least`."""
        return max(1, int((torch.linalg.eigvalsh(_correlation(covariance.double())[0]) > least).sum()))

    def set(self, mean: Tensor, covariance: Tensor) -> None:
        """Take mean ``(size,)`` and covariance ``(size, size)``."""
        correlation, width = _correlation(covariance.double())
        values, axes = torch.linalg.eigh(correlation)
        largest = slice(len(values) - self.matrix.shape[1], None)
        values, axes = values[largest].clamp_min(1e-12), axes[:, largest]
        self.mean.copy_(mean)
        self.matrix.copy_(axes / width[:, None] * values.rsqrt())
        self.back.copy_((axes * width[:, None] * values.sqrt()).T)

    def forward(self, x: Tensor) -> Tensor:
        """Whitened values ``(..., rank)`` of ``x`` ``(..., size)``."""
        return (x - self.mean) @ self.matrix

    def inverse(self, y: Tensor) -> Tensor:
        """Values in the original scale, ``(..., size)``."""
        return self.mean + y @ self.back


def _correlation(covariance: Tensor) -> tuple[Tensor, Tensor]:
    width = covariance.diagonal().sqrt()
    # a coordinate that never varies is an axis without variance
    width = torch.where(width > 1e-6 * width.max().clamp_min(1e-30), width, torch.inf)
    correlation = covariance / width[:, None] / width
    return correlation, torch.where(width.isinf(), torch.ones_like(width), width)
