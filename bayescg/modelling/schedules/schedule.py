"""What changes during a fit without frames, and what its batches hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from bayescg.modelling.batch import Batch
from bayescg.modelling.schedules.weighted import Draws, wake
from bayescg.modelling.traces import sites
from bayescg.recording.functional import Params

__all__ = ["Schedule"]


class Schedule:
    """How a model is trained over the steps of a fit. This one leaves everything as it is.

    `Model.schedule` makes one for each fit. The fit sets the model's buffers to `buffers`, tells `observe` the loss of
    each step, and calls `advance` where `due` says so, after which it looks at `buffers`, `batch` and `stage` again.

    Parameters
    ----------
    energies : int
        That are computed for each draw of a batch.
    wake : float
        How often the divergence from the target to the guide is added
        (``bayescg.modelling.schedules.weighted.wake``).

    Attributes
    ----------
    count : int
        Weighted draws of the guide that `advance` is given; 0 for none.
    stage : str
        What the programs find in `Batch.stage`: a model may be trained part by part, and say by it what of its programs
        belongs to a part. Where it changes, the optimiser forgets.
    drawn : int
        Energies that those took so far, all without gradients.
    legend, caption : str
        What the loss is: in a figure, and in a sentence below it.

    Examples
    --------
    Inverse temperatures in a geometric series, a step in temperature every hundred steps:

    >>> class Geometric(Schedule):
    ...     beta = 0.1
    ...     def buffers(self):
    ...         return {"beta": self.beta}
    ...     def due(self, step):
    ...         return self.beta < 1 and step % 100 == 0
    ...     def advance(self, step, draws):
    ...         self.beta = min(1.0, 1.5 * self.beta)
    ...     def state(self):
    ...         return {"beta": self.beta}
    ...     def load(self, state, tensors):
    ...         self.beta = state["beta"]
    >>> schedule = Geometric()
    >>> schedule.advance(100, [])
    >>> schedule.buffers()
    {'beta': 0.15000000000000002}
    """

    count = 0
    drawn = 0
    stage = ""
    legend = "minus a bound on log Z"
    caption = "Loss during the fit, in nats: minus a bound on log Z."

    def __init__(self, energies: int = 1, wake: float = 0.0):
        self.energies, self.wake = energies, wake

    def buffers(self) -> dict[str, float]:
        """Values, from now on, of buffers of the model; the log of the fit has a column for each."""
        return {}

    def batch(self, size: int, seed: int, device: torch.device) -> Params:
        """Fields of a `Batch`: ``"index"``, from which the guide draws, or ``"x"``, given configurations."""
        return {"index": torch.arange(size, device=device)}

    def term(
        self, guide: Callable[[Batch], Any], batch: Batch, proposed: poutine.Trace, target: poutine.Trace
    ) -> Tensor | None:
        """What is added to the loss of a batch, given the traces of guide and model. It is recorded once."""
        if not self.wake:
            return None
        for trace in (proposed, target):  # before sums, which would not keep each draw's own
            trace.compute_log_prob()
        return self.wake * wake(guide, batch, sites(proposed), sites(target))

    def observe(self, loss: Tensor) -> None:
        """Take note of the loss of a step, of refits those of all."""

    def due(self, step: int) -> bool:
        """Whether `advance` is to be called after so many steps."""
        return False

    def advance(self, step: int, draws: list[Draws]) -> None:
        """Go on, with `count` weighted draws of the guide as it is now, one set for each refit."""

    def course(self, step: int) -> tuple[int, int] | None:
        """First and last of the steps around this one over which the learning rate rises and falls; None: of all."""

    def over(self, step: int) -> bool:
        """Whether a fit may end after so many steps, before it has done all that it may."""
        return False

    def queried(self, steps: int, size: int) -> int:
        """Energies, with their gradients, of so many steps with batches of `size`, those of all refits together."""
        return self.energies * steps * size

    def diagnostics(self) -> dict[str, Any]:
        """JSON for `Fit.diagnostics`."""
        return {}

    def warnings(self) -> list[str]:
        """What a careful reader should know of the way that the fit went."""
        return []

    def state(self) -> dict[str, Any]:
        """JSON for a checkpoint, which `load` takes back."""
        return {}

    def tensors(self) -> Params:
        """What else a checkpoint must hold."""
        return {}

    def load(self, state: dict[str, Any], tensors: Params) -> None:
        """Take back what `state` and `tensors` returned."""
