"""Conditional densities of a molecule's coordinates, soft torsions first."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Size, Tensor
from torch.distributions import constraints

from bayescg.nets.spline_flow import SplineFlow

__all__ = ["TorsionsFirst"]


class TorsionsFirst(dist.TorchDistribution):
    """p(t | z) p(s | z, t) of coordinates u, of which t are soft torsions and s the others.

    Parameters
    ----------
    torsions, flow : SplineFlow
        Of t, given z; and of s, given z and the cosines and sines of t.
    soft, rest : Tensor
        Where t and s stand in u.
    z : Tensor
        ``(..., context)``.
    first : Tensor, optional
        Knots of splines that torsions pass before all layers, ``(torsions, 3 bins - 1)``: see `evening_knots`.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(
        self,
        torsions: SplineFlow,
        flow: SplineFlow,
        soft: Tensor,
        rest: Tensor,
        z: Tensor,
        first: Tensor | None = None,
    ):
        self.torsions, self.flow, self.soft, self.rest, self.z, self.first = torsions, flow, soft, rest, z, first
        super().__init__(z.shape[:-1], Size([len(soft) + len(rest)]), validate_args=False)

    @property
    def support(self) -> Any:
        """All of space."""
        return constraints.real_vector

    def expand(self, batch_shape: Any, _instance: Any = None) -> TorsionsFirst:
        """As Pyro asks for it."""
        return TorsionsFirst(
            self.torsions, self.flow, self.soft, self.rest, self.z.expand(*batch_shape, -1), self.first
        )

    def of_torsions(self) -> dist.TorchDistribution:
        """p(t | z)."""
        if self.first is None:
            return self.torsions(self.z)
        return self.torsions(self.z, first=self.first.expand(*self.z.shape[:-1], -1, -1))

    def others(self, t: Tensor) -> dist.TorchDistribution:
        """p(s | z, t), which reads the angles as cosines and sines."""
        angles = math.pi * torch.erf(t / math.sqrt(2))
        return self.flow(torch.cat([self.z.expand(*t.shape[:-1], -1), angles.cos(), angles.sin()], -1))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """t, then s."""
        t = self.of_torsions()(sample_shape)
        u = torch.cat([t, self.others(t)()], -1)
        return u[..., torch.cat([self.soft, self.rest]).argsort()]

    def log_prob(self, value: Tensor) -> Tensor:
        """Of u ``(..., coordinates)``."""
        t, s = value[..., self.soft], value[..., self.rest]
        return self.of_torsions().log_prob(t) + self.others(t).log_prob(s)
