"""Networks that return a diagonal Gaussian."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayescg.nets.mlp import MLP

__all__ = ["ConditionalGaussian"]


class ConditionalGaussian(nn.Module):
    """Diagonal Gaussian over `outputs` coordinates, its mean and log standard deviation read from the input.

    The forward pass returns a distribution of batch shape ``x.shape[:-1]`` and event shape ``(outputs,)``.

    Examples
    --------
    >>> ConditionalGaussian(6, 2)(torch.zeros(5, 6)).mean.shape
    torch.Size([5, 2])
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int] = (64, 64), activation: str = "tanh"):
        super().__init__()
        self.net = MLP(inputs, 2 * outputs, hidden, activation)

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """Distribution given ``x`` of shape ``(..., inputs)``."""
        mean, log_scale = self.net(x).chunk(2, -1)
        # soft limits keep exp() finite in float32 without a flat gradient inside the useful range
        log_scale = 8.0 * torch.tanh(log_scale / 8.0)
        return dist.Normal(mean, log_scale.exp()).to_event(1)
