"""Gaussian mixtures that can be reparameterised: each draw comes from a component that is given."""

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["StratifiedMixture"]


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
