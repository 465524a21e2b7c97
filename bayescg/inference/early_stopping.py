"""Early stopping: the state of the lowest held-out loss, and whether the loss has long stopped falling."""

import torch
from torch import Tensor

from bayescg.recording.functional import Params

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """The best state so far, each refit's by itself.

    Parameters
    ----------
    members : int or None
        Refits trained side by side, a leading axis of every tensor of a state; None: there is none.
    slack : float
        By how much a loss may exceed the lowest and still be taken for the best.
    patience : int
        Steps without a better loss of any refit after which the training may end.
    """

    def __init__(self, members: int | None, slack: float, patience: int):
        self.members, self.slack, self.patience = members, slack, patience
        self.state: Params = {}
        self.loss = torch.full((members or 1,), float("inf"))
        self.step = torch.zeros(members or 1, dtype=torch.int64)
        self.stopped = False

    def observe(self, step: int, loss: Tensor, state: Params) -> None:
        """Take note of the held-out loss of each refit, ``(members,)`` or ``(1,)``, after so many steps."""
        better = loss < self.loss + self.slack
        self.loss = torch.minimum(loss, self.loss)
        self.step = torch.where(better, torch.tensor(step), self.step)
        for name, value in state.items():
            mask = better.to(value.device)
            mask = mask.view(-1, *[1] * (value.dim() - 1)) if self.members else mask[0]
            self.state[name] = torch.where(mask, value, self.state.get(name, value))
        self.stopped = step - int(self.step.max()) >= self.patience
