"""The normaliser of a density of one or two coordinates, by quadrature."""

import torch
from torch import Tensor, nn

from bayescg.errors import ConfigError

__all__ = ["QuadratureBox"]

_POINTS = {1: 512, 2: 128}
"""Along each of so many coordinates."""


class QuadratureBox(nn.Module):
    r"""Points that fill a box, over which :math:`\ln Z = \ln \int e^{-u(x)} dx` is a sum, differentiable in u.

    The rule of midpoints: of smooth densities that vanish at the sides its error falls faster than any power.

    Parameters
    ----------
    dim : int
        1 or 2.

    Examples
    --------
    >>> box = QuadratureBox(1)
    >>> box.fill(torch.tensor([-8.0]), torch.tensor([8.0]))
    >>> box.log_z(0.5 * box.points[:, 0] ** 2)
    tensor(0.9189)
    """

    points: Tensor
    log_volume: Tensor

    def __init__(self, dim: int):
        super().__init__()
        if dim not in _POINTS:
            raise ConfigError(f"the normaliser of a density is known for 1 or 2 coordinates, not for {dim}")
        self.register_buffer("points", torch.zeros(_POINTS[dim] ** dim, dim))
        self.register_buffer("log_volume", torch.zeros(()))

    def fill(self, low: Tensor, high: Tensor) -> None:
        """Take the corners of the box, each ``(dim,)``."""
        count = _POINTS[len(low)]
        centres = (torch.arange(count, device=low.device) + 0.5) / count
        axes = [lo + (hi - lo) * centres for lo, hi in zip(low, high, strict=True)]
        self.points.copy_(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2))
        self.log_volume.copy_(((high - low) / count).log().sum())

    def fill_around(self, mean: Tensor, width: Tensor) -> None:
        """Hold all of a Gaussian density, each ``(dim,)``, but 1e-12."""
        self.fill(mean - 7.5 * width, mean + 7.5 * width)

    def log_z(self, u: Tensor) -> Tensor:
        """Logarithm of the integral of exp(-u), of values ``(m,)`` at the points."""
        return torch.logsumexp(-u, 0) + self.log_volume

    def information(self, u: Tensor, count: Tensor) -> Tensor:
        """Of so many frames of the density ``(m,)``: values at the points, by their spread over it."""
        p = torch.softmax(-u, 0).detach()
        return (count * p).sqrt() * (u - p @ u)
