"""Networks that hand out their derivatives with respect to the input beside their values."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

__all__ = ["TangentMLP"]


class TangentMLP(nn.Module):
    """Layers of tanh that also carry directional derivatives forward, all directions in one pass.

    Parameters
    ----------
    inputs : int
    hidden : sequence of int
        Widths of the layers; the last one is the output, unless there are `outputs`.
    outputs : int, optional
        Width of an affine layer on top.

    Examples
    --------
    >>> net = TangentMLP(3, (16, 8))
    >>> values, slopes = net.derivatives(torch.zeros(5, 3), torch.eye(3))
    >>> values.shape, slopes.shape
    (torch.Size([5, 8]), torch.Size([5, 3, 8]))
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int | None = None):
        super().__init__()
        self.layers: Any = nn.ModuleList(_Spread(a, b, i > 0) for i, (a, b) in enumerate(pairwise([inputs, *hidden])))
        self.last = nn.Linear(hidden[-1], outputs) if outputs else None

    def forward(self, y: Tensor) -> Tensor:
        """Values ``(..., outputs)`` at ``(..., inputs)``."""
        return self.tail(self.layers[0](y))

    def tail(self, a: Tensor) -> Tensor:
        """Values ``(..., outputs)`` where the first layer is given ``(..., hidden[0])`` to take the tanh of."""
        y = torch.tanh(a)
        for layer in self.layers[1:]:
            y = torch.tanh(layer(y))
        return y if self.last is None else self.last(y)

    def sequence(self) -> list[nn.Module]:
        """Its affine layers and activations, one after the other."""
        steps: list[nn.Module] = [step for layer in self.layers for step in (layer, nn.Tanh())]
        return steps if self.last is None else [*steps, self.last]

    def entering(self, directions: Tensor) -> Tensor:
        """What directions ``(q, inputs)`` are where the first layer takes the tanh, ``(q, hidden[0])``."""
        return linear(directions, self.layers[0].weight)

    def fewest(self, directions: Tensor) -> Tensor:
        """As `entering`, but no more of them than the layer has units: sums of squares over them are the same."""
        along = self.entering(directions)
        if len(along) <= along.shape[1]:
            return along
        square = along.double().T @ along.double()
        ridge = 1e-9 * square.diagonal().mean() * torch.eye(len(square), dtype=square.dtype, device=square.device)
        return torch.linalg.cholesky(square + ridge).mT.to(along)

    def carried(self, y: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        """As `derivatives`, for directions that have entered the first layer, ``(q, hidden[0])``."""
        y = torch.tanh(self.layers[0](y))
        along = along * (1 - y * y)[:, None, :]
        for layer in self.layers[1:]:
            y = torch.tanh(layer(y))
            along = linear(along, layer.weight) * (1 - y * y)[:, None, :]
        if self.last is None:
            return y, along
        return self.last(y), linear(along, self.last.weight)

    def derivatives(self, y: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Values and derivatives along constant directions.

        Parameters
        ----------
        y : Tensor, shape (n, inputs)
        directions : Tensor, shape (q, inputs)

        Returns
        -------
        values : Tensor, shape (n, outputs)
        derivatives : Tensor, shape (n, q, outputs)
        """
        return self.carried(y, self.entering(directions))


class _Spread(nn.Module):
    # functions that differ from the start: slopes of order one and steps anywhere in standardised inputs. Weights of
    # hidden units are counted in their first spread: a step of Adam, the same for each, would else move what enters the
    # next layer by as much as there are of them, and drive it to where tanh is flat. Inputs may matter or not.
    def __init__(self, inputs: int, outputs: int, of_hidden: bool):
        super().__init__()
        self.spread = 1.5 / inputs**0.5
        self.unit = self.spread if of_hidden else 1.0
        self.relative = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.reset_parameters()

    @property
    def weight(self) -> Tensor:
        return self.unit * self.relative

    def forward(self, y: Tensor) -> Tensor:
        return linear(y, self.weight, self.bias)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.relative, 0.0, self.spread / self.unit)
        nn.init.normal_(self.bias, 0.0, 0.7)
