"""Gaussian mixtures that can be reparameterised: each draw comes from a component that is given."""

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

__all__ = ["LatentMixture", "StratifiedMixture"]

_PACE = 20.0
"""The components' weights follow a change of temperature sooner than the networks, which must not do it in their place
by moving a component from one well to another."""


class StratifiedMixture(TorchDistribution):
    r"""Mixture of diagonal Gaussians, :math:`q(z) = \sum_k \pi_k N(z; m_k, \mathrm{diag}\, s_k^2)`.

    A component cannot be drawn by a differentiable map. Here row b of the batch comes from component ``component[b]``
    and counts `share[b]` times, so that averages over q are :math:`\frac{1}{B} \sum_b \mathrm{share}_b f(z_b)`, exactly
    stratified, and differentiable in weights, means and widths. `log_prob` is that of the whole mixture. Every
    component has its rows, however small its weight: a mode that holds a hundredth of the probability is not left to
    chance.

    Parameters
    ----------
    logits : Tensor, shape (components,)
    mean, sd : Tensor, shape (components, dim)
    component : Tensor of int64, shape (B,)

    Examples
    --------
    >>> logits, mean = torch.tensor([0.9, 0.1]).log(), torch.tensor([[-1.0], [1.0]])
    >>> q = StratifiedMixture(logits, mean, torch.full((2, 1), 1e-3), torch.tensor([0, 1, 0, 1]))
    >>> q.rsample().round().flatten(), q.share
    (tensor([-1.,  1., -1.,  1.]), tensor([1.8000, 0.2000, 1.8000, 0.2000]))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, logits: Tensor, mean: Tensor, sd: Tensor, component: Tensor):
        self.log_weights = torch.log_softmax(logits, -1)
        self.mean_of, self.sd_of = mean, sd
        self._rows = (component.unsqueeze(-1) == torch.arange(len(logits), device=mean.device)).to(mean.dtype)
        super().__init__(component.shape, mean.shape[-1:], validate_args=False)

    @property
    def support(self) -> Any:
        """All of space."""
        return constraints.real_vector

    @property
    def share(self) -> Tensor:
        r"""How often each row counts, ``(B,)``: :math:`\pi_k` over the fraction of rows that come from its k."""
        return self._rows @ (self.log_weights.exp() / self._rows.mean(0).clamp_min(1e-30))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """One draw of each row's component, ``(*sample_shape, B, dim)``."""
        mean, sd = self._rows @ self.mean_of, self._rows @ self.sd_of
        noise = torch.randn(*sample_shape, *mean.shape, dtype=mean.dtype, device=mean.device)
        return mean + sd * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the whole mixture, ``(...)`` for ``(..., dim)``."""
        return self._log_density(value, self.log_weights)

    def log_prob_of_rows(self, value: Tensor) -> Tensor:
        """Log density of what the rows hold, shares apart: the mixture with the fraction of rows of each component."""
        return self._log_density(value, self._rows.mean(0).log())

    def _log_density(self, value: Tensor, log_weights: Tensor) -> Tensor:
        standard = (value.unsqueeze(-2) - self.mean_of) / self.sd_of
        normal = -0.5 * (standard.square() + 1.8378770664093453).sum(-1) - self.sd_of.log().sum(-1)
        return torch.logsumexp(log_weights + normal, -1)


class LatentMixture(nn.Module):
    """Trainable weights, means and widths of a `StratifiedMixture`; with one component, the standard normal density.

    Parameters
    ----------
    components, dim : int

    Examples
    --------
    >>> prior = LatentMixture(4, 1)
    >>> prior(torch.arange(8) % 4).share
    tensor([1., 1., 1., 1., 1., 1., 1., 1.], grad_fn=<MvBackward0>)
    """

    logits: Tensor
    mean: Tensor
    log_sd: Tensor

    def __init__(self, components: int, dim: int):
        super().__init__()
        self.components, self.dim = components, dim
        for name, shape in (("logits", (components,)), ("mean", (components, dim)), ("log_sd", (components, dim))):
            if components > 1:
                self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
            else:
                self.register_buffer(name, torch.zeros(shape))

    def forward(self, component: Tensor, free: Tensor | float = 1.0) -> StratifiedMixture:
        """The mixture whose draws come from the given components, ``(B,)``; where `free` is 0, of equal weights."""
        return StratifiedMixture(free * _PACE * self.logits, self.mean, self.log_sd.exp(), component)

    def drawn(self, count: int) -> Tensor:
        """Components of so many draws, as many of each as its weight makes of them.

        By the inverse of the cumulative weights, the same random numbers for all members of an ensemble.
        """
        below = torch.softmax(_PACE * self.logits.double(), -1).cumsum(-1)
        even = torch.rand(count, dtype=below.dtype, device=below.device)
        return (even.unsqueeze(-1) * below[..., -1:] >= below[..., :-1]).sum(-1)

    def reset_parameters(self) -> None:
        """Spread the components evenly over the standard normal density."""
        if self.components == 1:
            return
        seed = int(torch.randint(2**31, ()))
        even = torch.quasirandom.SobolEngine(self.dim, scramble=True, seed=seed).draw(self.components)
        with torch.no_grad():
            self.logits.zero_()
            self.mean.copy_(torch.special.ndtri(even.clamp(0.01, 0.99)))
            self.log_sd.fill_(-math.log(self.components) / self.dim)
