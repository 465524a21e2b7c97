"""From collective variables back to conformations by normalising flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.contrib.zuko import ZukoToPyro
from torch import Size, Tensor, nn
from torch.distributions import constraints

from bayescg.nets.spline_flow import SplineFlow
from bayescg.nets.torsions_first import TorsionsFirst

__all__ = ["FlowDecoder"]


class FlowDecoder(nn.Module):
    r"""Densities of z, and of features given z, that follow the CVs and do not move them.

    No gradient reaches z through either: what z is to hold, something else has to say.

    What bends a molecule most are its soft torsions t. They come first, and all other coordinates s given them,

    .. math:: p(u \mid z) = p(t \mid z)\, p(s \mid z, t),

    so that the wells of t are the matter of a few splines, which no bond and no angle disturbs.

    Parameters
    ----------
    latent_dim : int
        Size of z.
    size : int
        Number of features.
    features : Features or None
        With `coordinates`, positions of a molecule, superposed: the density is then that of conformations, rigid
        motions apart.
    coordinates : UnboundedCoordinates or None
        What the flow is over; None: the features themselves.
    layers, bins : int
    hidden : sequence of int
        Of the :class:`bayescg.nets.SplineFlow` of t and of s. That of z has two layers for each CV, and twice as many
        bins: a few wells in few dimensions.

    Examples
    --------
    >>> decoder = FlowDecoder(2, 5, layers=2, bins=4, hidden=(8,))
    >>> z = decoder.latent()((7,))
    >>> decoder(z)().shape
    torch.Size([7, 5])
    """

    soft: Tensor
    rest: Tensor

    def __init__(
        self,
        latent_dim: int,
        size: int,
        features: nn.Module | None = None,
        coordinates: nn.Module | None = None,
        *,
        layers: int,
        bins: int,
        hidden: Sequence[int],
    ):
        super().__init__()
        self.features, self.coordinates = features, coordinates
        over: Any = size if coordinates is None else coordinates.size
        soft: list[int] = [] if coordinates is None else coordinates.get_buffer("soft").tolist()
        rest = [i for i in range(over) if i not in soft]
        self.register_buffer("soft", torch.tensor(soft, dtype=torch.long), persistent=False)
        self.register_buffer("rest", torch.tensor(rest, dtype=torch.long), persistent=False)
        self.prior = SplineFlow([False] * latent_dim, 2 * latent_dim, 2 * bins, hidden)
        self.torsions = SplineFlow([True] * len(soft), layers, bins, hidden, latent_dim) if soft else None
        self.flow = SplineFlow([False] * len(rest), layers, bins, hidden, latent_dim + 2 * len(soft))

    def place(self, y: Tensor) -> None:
        """Centre and scale of the flow are those of features ``(n, size)``."""
        u = y if self.coordinates is None else self.coordinates(_positions(self.features, y))
        u = u[:, self.rest]
        self.flow.place(u.mean(0), u.std(0, correction=0).clamp_min(1e-6))

    def latent(self) -> dist.TorchDistribution:
        """p(z)."""
        return _Unmoved(self.prior().dist)  # type: ignore[attr-defined]

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        """p(features | z), of batch shape ``(...)`` for z ``(..., latent_dim)``."""
        z = z.detach()
        over = (
            self.flow(z) if self.torsions is None else TorsionsFirst(self.torsions, self.flow, self.soft, self.rest, z)
        )
        return over if self.coordinates is None else _Conformations(over, self.features, self.coordinates)


class _Unmoved(ZukoToPyro):
    """A distribution whose values learn nothing from its density."""

    def expand(self, *args: Any, **kwargs: Any) -> _Unmoved:
        return _Unmoved(self.dist.expand(*args, **kwargs))

    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x.detach())


class _Conformations(dist.TorchDistribution):
    """Superposed conformations of coordinates that are drawn; their density, rigid motions apart."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, over: dist.TorchDistribution, features: Any, coordinates: Any):
        self.over, self.features, self.coordinates = over, features, coordinates
        super().__init__(over.batch_shape, Size([features.size]), validate_args=False)

    @property
    def support(self) -> Any:
        """All of space."""
        return constraints.real_vector

    def expand(self, batch_shape: Any, _instance: Any = None) -> _Conformations:
        return _Conformations(self.over.expand(batch_shape), self.features, self.coordinates)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.features(self.coordinates.positions(self.over(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        u = self.coordinates(_positions(self.features, value))
        return self.over.log_prob(u) - self.coordinates.log_abs_det_jacobian(u)


def _positions(features: Any, y: Tensor) -> Tensor:
    return features.positions(y)
