"""How far a model's training frames reached."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["TrainingRange"]


class TrainingRange(nn.Module):
    """Smallest and largest value of each of several numbers in the frames trained on.

    Parameters
    ----------
    size : int
    slack : float
        How much further a number may go, in units of its range: half a range beyond either end no fluctuation leads.

    Examples
    --------
    >>> reach = TrainingRange(1)
    >>> reach.set(torch.tensor([[0.0], [2.0]]))
    >>> reach.strays(torch.tensor([[2.9], [3.5]]), lambda column: "x is")
    'the simulation has left what the potential was trained on: in chain 1 x is 3.5, in the training frames 0 to 2. ...
    """

    low: Tensor
    high: Tensor

    def __init__(self, size: int, slack: float = 0.5):
        super().__init__()
        self.slack = slack
        self.register_buffer("low", torch.zeros(size))
        self.register_buffer("high", torch.zeros(size))

    def set(self, values: Tensor) -> None:
        """Take the range of values ``(n, size)``."""
        self.low.copy_(values.amin(0))
        self.high.copy_(values.amax(0))

    def beyond(self, values: Tensor) -> Tensor:
        """Which of values ``(n, size)`` are beyond the range, bool ``(n, size)``; those that are not finite are."""
        room = self.slack * (self.high - self.low) + 1e-3 * self.high.abs()
        return ~((values >= self.low - room) & (values <= self.high + room))

    def strays(self, values: Tensor, names: Callable[[int], str]) -> str:
        """The first of values ``(n, size)`` beyond the range, in words; empty where none is.

        Parameters
        ----------
        values : Tensor
            One row for each chain of a simulation.
        names : callable
            From a column to what is to stand before its value.
        """
        beyond = self.beyond(values)
        if not bool(beyond.any()):
            return ""
        chain, column = beyond.nonzero()[0].tolist()
        low, high = float(self.low[column]), float(self.high[column])
        return (
            f"the simulation has left what the potential was trained on: in chain {chain} {names(column)} "
            f"{float(values[chain, column]):.3g}, in the training frames {low:.3g} to {high:.3g}. Train on more "
            "frames, use a prior energy, or a shorter time step"
        )
