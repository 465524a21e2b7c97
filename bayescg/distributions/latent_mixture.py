"""Densities of latent variables that are learned: mixtures of Gaussians, or of angles."""

import math

import torch
from torch import Tensor, nn

from bayescg.distributions.mixture import StratifiedMixture
from bayescg.distributions.torus import WrappedMixture

__all__ = ["LatentMixture"]

_PACE = 20.0
"""The components' weights follow a change of temperature sooner than the networks, which must not do it in their place
by moving a component from one well to another."""


class LatentMixture(nn.Module):
    """Trainable weights, means and widths of a `StratifiedMixture`; with one component, the standard normal density.

    Parameters
    ----------
    components, dim : int
    angular : bool
        Of angles, a `WrappedMixture`, whose components begin spread over the whole torus.

    Examples
    --------
    >>> prior = LatentMixture(4, 1)
    >>> prior(torch.arange(8) % 4).share
    tensor([1., 1., 1., 1., 1., 1., 1., 1.], grad_fn=<MvBackward0>)
    """

    logits: Tensor
    mean: Tensor
    log_sd: Tensor

    def __init__(self, components: int, dim: int, angular: bool = False):
        super().__init__()
        self.components, self.dim, self.angular = components, dim, angular
        for name, shape in (("logits", (components,)), ("mean", (components, dim)), ("log_sd", (components, dim))):
            if components > 1:
                self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
            else:
                self.register_buffer(name, torch.zeros(shape))

    def forward(self, component: Tensor, free: Tensor | float = 1.0) -> StratifiedMixture:
        """The mixture whose draws come from the given components, ``(B,)``; where `free` is 0, of equal weights."""
        mixture = WrappedMixture if self.angular else StratifiedMixture
        return mixture(free * _PACE * self.logits, self.mean, self.log_sd.exp(), component)

    def drawn(self, count: int) -> Tensor:
        """Components of so many draws, as many of each as its weight makes of them.

        By the inverse of the cumulative weights, the same random numbers for all members of an ensemble.
        """
        below = torch.softmax(_PACE * self.logits.double(), -1).cumsum(-1)
        even = torch.rand(count, dtype=below.dtype, device=below.device)
        return (even.unsqueeze(-1) * below[..., -1:] >= below[..., :-1]).sum(-1)

    def reset_parameters(self) -> None:
        """Spread the components evenly over the standard normal density, or the torus."""
        if self.components == 1:
            return
        seed = int(torch.randint(2**31, ()))
        even = torch.quasirandom.SobolEngine(self.dim, scramble=True, seed=seed).draw(self.components)
        with torch.no_grad():
            self.logits.zero_()
            self.mean.copy_(math.pi * (2 * even - 1) if self.angular else torch.special.ndtri(even.clamp(0.01, 0.99)))
            self.log_sd.fill_((math.log(math.pi) if self.angular else 0.0) - math.log(self.components) / self.dim)
