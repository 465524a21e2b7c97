"""Multilayer perceptrons and standardisation."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "MLP", "Standardise", "lead_along"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "selu": nn.SELU,
    "softplus": nn.Softplus,
}


class MLP(nn.Sequential):
    """Fully connected network with the same smooth activation after each hidden layer.

    Parameters
    ----------
    inputs, outputs : int
        Sizes of the last axis.
    hidden : sequence of int
        Widths of the hidden layers; empty for an affine map.
    activation : {"tanh", "silu", "selu", "softplus"}

    Examples
    --------
    >>> MLP(6, 2, hidden=(20, 20))(torch.zeros(5, 6)).shape
    torch.Size([5, 2])
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int] = (64, 64), activation: str = "tanh"):
        sizes = [inputs, *hidden]
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            layers += [nn.Linear(a, b), ACTIVATIONS[activation]()]
        super().__init__(*layers, nn.Linear(sizes[-1], outputs))

    def spread(self, y: Tensor, share: Tensor, outputs: Tensor) -> None:
        """Let some outputs (by number) have mean zero and unit variance, where values ``(n, outputs)`` have shares."""
        last, y = self[-1], y[:, outputs]
        assert isinstance(last, nn.Linear)
        sd = (share @ (y - share @ y).square()).sqrt()
        last.bias[outputs] = (last.bias[outputs] - share @ y) / sd
        last.weight[outputs] /= sd.unsqueeze(-1)


@torch.no_grad()
def lead_along(net: nn.Sequential, axes: Tensor) -> None:
    """Let the last layer of a network lead from zero along columns ``(outputs, inputs)``.

    Examples
    --------
    >>> net = MLP(1, 2, hidden=())
    >>> lead_along(net, torch.tensor([[1.0], [2.0]]))
    >>> net(torch.ones(1, 1)).tolist()
    [[1.0, 2.0]]
    """
    last = net[-1]
    assert isinstance(last, nn.Linear)
    last.weight.copy_(axes)
    last.bias.zero_()


class Standardise(nn.Module):
    """Affine map to zero mean and unit standard deviation, with the statistics as buffers.

    A coordinate that never varies keeps width 1, so that nothing is divided by zero.

    Examples
    --------
    >>> s = Standardise(1)
    >>> s.set(torch.tensor([2.0]), torch.tensor([4.0]))
    >>> s(torch.tensor([[6.0]])).item(), s.inverse(torch.tensor([[1.0]])).item()
    (1.0, 6.0)
    """

    mean: Tensor
    width: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("width", torch.ones(size))

    def set(self, mean: Tensor, width: Tensor) -> None:
        """Take mean and standard deviation, each of shape ``(size,)``."""
        self.mean.copy_(mean)
        self.width.copy_(torch.where(width > 1e-6 * width.max().clamp_min(1e-30), width, torch.ones_like(width)))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised values, ``(..., size)``."""
        return (x - self.mean) / self.width

    def inverse(self, y: Tensor) -> Tensor:
        """Values in the original scale, ``(..., size)``."""
        return self.mean + self.width * y
