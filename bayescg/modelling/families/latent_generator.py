"""What generators with latent variables share: densities of these, of configurations given them, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import AffineTransform

from bayescg import nets
from bayescg.arguments import check_counts
from bayescg.distributions import LatentMixture, StratifiedMixture, WrappedNormal
from bayescg.errors import DataError
from bayescg.features import aligned
from bayescg.modelling.batch import Batch
from bayescg.modelling.families.generator_model import GeneratorModel
from bayescg.modelling.system_model import placing

__all__ = ["LatentGeneratorModel"]


class LatentGeneratorModel(GeneratorModel):
    """Base of generators of configurations x given latent variables z, and of maps that read z off x.

    A subclass calls `begin_latent` after `begin_generator`. Given a flow, of a molecule, z are angles, in which each
    density is a wrapped one; otherwise all densities are Gaussian.

    Attributes
    ----------
    latent_dim, components : int
        Of q(z), a mixture.
    molecule, flow : bool
        Whether x are the internal coordinates of a molecule, and whether x given z is a flow.
    decoder, reverse : Module
        What x given z and z given x are read off.
    """

    decoder: nets.ConditionalGaussian | nets.SplineFlow
    reverse: nets.ConditionalGaussian | nets.AngleReader
    centre: Tensor
    scale: Tensor

    def begin_latent(self, latent_dim: int, components: int, flow: bool) -> None:
        """Make the densities.

        Raises
        ------
        ConfigError
            A number is out of range.
        """
        check_counts(latent_dim=(latent_dim, 1), components=(components, 1))
        self.latent_dim, self.components = latent_dim, int(components)
        self.molecule, self.flow = self.system.reference is not None, flow
        size, inputs = self.system.dim, len(self.system.readable(torch.zeros(self.system.dim)))
        if flow:
            molecule: Any = self.system.cartesian
            self.decoder = self.flow_over(context=4 * latent_dim)
            self.reverse = nets.AngleReader(inputs, latent_dim, self.hidden)
            self.superposed = aligned(molecule.topology, molecule.start)  # by heavy atoms
            start = self.inputs(torch.as_tensor(molecule.start)[None])
            self.placement = nets.Placement(latent_dim, self.atoms(start)[0])
        else:
            self.decoder = nets.ConditionalGaussian(latent_dim, size, self.hidden, correlated=self.molecule)
            self.reverse = nets.ConditionalGaussian(inputs, latent_dim, self.hidden)
        centre, scale = placing(self.system)
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.prior = LatentMixture(self.components, latent_dim, angular=flow)

    @contextmanager
    def latent(self, batch: Batch) -> Iterator[StratifiedMixture]:
        """Plate over the draws of a batch; gives q(z), of a molecule of equal weights as long as beta is below 1.

        Without a flow there are as many draws of each component, each of which counts as the component's weight asks;
        with one, as many as its weight makes of them.

        Raises
        ------
        DataError
            The batch is too small for all components.
        """
        index = None if self.flow else batch.index
        if index is not None and len(index) < self.components:
            raise DataError(f"a batch of {len(index)} draws has none of some of the {self.components} components")
        component = self.prior.drawn(len(batch)) if index is None else index % self.components
        free = 1.0 if self.flow or not self.molecule else (self.beta >= 1.0).to(self.beta.dtype)
        mixture = self.prior(component, free)
        with batch.plate("frames"):
            if index is None or self.components == 1:
                yield mixture
            else:
                with poutine.scale(scale=mixture.share):
                    yield mixture

    def generated(self, z: Tensor | None, batch: Batch) -> TorchDistribution:
        """q(x | z); of a flow, without z, q(x), its stiff coordinates as wide as they are hot."""
        if isinstance(self.decoder, nets.SplineFlow):
            context = self.beta.new_zeros(len(batch), 4 * self.latent_dim) if z is None else nets.harmonics(z)
            return self.decoder(context, widen=self.beta.rsqrt())
        return dist.TransformedDistribution(self.decoder(z), [AffineTransform(self.centre, self.scale, event_dim=1)])

    def read(self, x: Tensor, learns: bool = True) -> TorchDistribution:
        """r(z | x), of the model's coordinates."""
        if not self.flow:
            return self.reverse(self.system.readable((x - self.centre) / self.scale))
        mean, sd = self.reverse(self.system.readable(x))
        return WrappedNormal(mean, sd) if learns else WrappedNormal(mean.detach(), sd.detach())

    def atoms(self, x: Tensor) -> Tensor:
        """Where the heavy atoms of a molecule lie, superposed, in nm: ``(..., 3 heavy atoms)``."""
        return self.superposed.of_fitted(self.system.positions(x))

    def reset(self) -> None:
        """Draw fresh weights. Soft torsions of a Gaussian begin spread over all values; a flow begins blind to z."""
        super().reset()
        with torch.no_grad():
            if isinstance(self.decoder, nets.SplineFlow):
                self.decoder.forget_context()
            elif len(self.system.circular):
                z = self.prior(self.prior.drawn(1000)).rsample()
                self.decoder.spread(z, self.system.circular, sd=0.3)
