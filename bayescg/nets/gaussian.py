"""Networks that return a diagonal Gaussian."""

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from bayescg.nets.mlp import MLP

__all__ = ["ConditionalGaussian", "exactly"]


class ConditionalGaussian(nn.Module):
    """Gaussian over `outputs` coordinates, its mean and log standard deviations read from the input.

    The forward pass returns a distribution of batch shape ``x.shape[:-1]`` and event shape ``(outputs,)``. It is
    diagonal; `correlated`, its draws are multiplied by a unit lower triangular matrix, one for all inputs, which begins
    as the identity. No standard deviation is below `narrowest`.

    Examples
    --------
    >>> ConditionalGaussian(6, 2)(torch.zeros(5, 6)).mean.shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        correlated: bool = False,
        narrowest: float = 0.0,
    ):
        super().__init__()
        self.net = MLP(inputs, 2 * outputs, hidden, activation)
        self.lower = nn.Parameter(torch.zeros(outputs, outputs)) if correlated else None
        self.narrowest = narrowest

    def reset_parameters(self) -> None:
        """Forget all correlations; the network resets itself."""
        if self.lower is not None:
            nn.init.zeros_(self.lower)

    def spread(self, x: Tensor, outputs: Tensor, sd: float) -> None:
        """Scale the last layer so that these outputs have means of mean 0 and deviation 1 over `x`, and width `sd`.

        Parameters
        ----------
        x : Tensor, shape (n, inputs)
        outputs : Tensor of int64
            Numbers of the outputs.
        sd : float
            Their standard deviation at the average input.
        """
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            log_sd = outputs + last.out_features // 2
            for rows, scale, shift in ((outputs, 1.0, 0.0), (log_sd, 0.1, math.log(sd))):
                values = self.net(x)[:, rows]
                factor = scale / values.std(0)
                last.weight[rows] *= factor.unsqueeze(-1)
                last.bias[rows] = (last.bias[rows] - values.mean(0)) * factor + shift

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """Distribution given ``x`` of shape ``(..., inputs)``."""
        mean, log_scale = self.net(x).chunk(2, -1)
        # soft limits keep exp() finite in float32 without a flat gradient inside the useful range
        log_scale = 8.0 * torch.tanh(log_scale / 8.0)
        scale = log_scale.exp()
        if self.narrowest:
            scale = (scale.square() + self.narrowest**2).sqrt()
        diagonal = dist.Normal(mean, scale).to_event(1)
        if self.lower is None:
            return diagonal
        mixing = self.lower.tril(-1) + torch.eye(len(self.lower), dtype=mean.dtype, device=mean.device)
        return dist.TransformedDistribution(diagonal, [_Mixing(mixing)])


def exactly(z: Tensor) -> torch.distributions.Independent:
    """CVs ``(n, k)`` that are functions of the configuration, as a distribution: the width of 1e-6 stands for none.

    Examples
    --------
    >>> exactly(torch.zeros(5, 2)).event_shape
    torch.Size([2])
    """
    return torch.distributions.Independent(torch.distributions.Normal(z, torch.full_like(z, 1e-6)), 1)


class _Mixing(Transform):
    """Rows times the transpose of a unit lower triangular matrix; Pyro's own solves for every row apart."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, matrix: Tensor):
        super().__init__(cache_size=1)
        self.matrix = matrix

    def _call(self, x: Tensor) -> Tensor:
        return x @ self.matrix.T

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.matrix.T, y, upper=True, left=False)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1])
