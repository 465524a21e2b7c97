"""Adaptive tempering: when a fit may cool its system, and by how much."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bayescg.modelling.schedules.ladder import Ladder
from bayescg.modelling.schedules.schedule import Schedule
from bayescg.modelling.schedules.weighted import Draws
from bayescg.recording.functional import Params
from bayescg.sampling.weights import next_beta

__all__ = ["AdaptiveTempering", "tempering"]

_SHARE = 0.6
"""Of all steps, in which the system's own temperature is to be reached."""

_STRIDE = 0.35
"""Rise of log beta that a first step is guessed to bring."""

_DRAWS = 10_000
"""Weighted draws from which a step in temperature is chosen."""

_NOTICEABLE = 0.05
"""Nats of the divergence that a step in temperature brings at a conditional effective sample size of 0.9."""


class AdaptiveTempering(Ladder):
    r"""Inverse temperatures from `start` to 1, each kept until the loss has stopped falling.

    The loss is averaged over windows of steps. It has converged when, in the last `patience` windows, no mean lay below
    the lowest before them by more than its standard error. The next :math:`\beta` is the one where the conditional
    effective sample size of the draws falls to `cess` (``bayescg.sampling.weights.next_beta``). So that 1 is
    reached after six tenths of all steps, a temperature is left without convergence when its share of the steps is used
    up, and `Stage.converged` says so; shares follow the steps and the temperatures that are left. Where 1 is reached
    earlier, the fit ends earlier: it is over when six tenths of its steps lie above the system's own temperature.

    Parameters
    ----------
    start : float
    cess : float
    steps : int
        Of the whole fit, at most.
    patience : int
    wake : float
        As in `Schedule`.

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020), section 2.4, where the relative rise of the divergence
    stands in place of the conditional effective sample size.
    """

    count = _DRAWS
    legend = "minus a bound on log Z at each temperature"
    caption = (
        "Loss during the fit, in nats: minus a bound on log Z at the temperature of the time, which changes at the "
        "dotted lines. That of the system comes last."
    )

    def __init__(self, start: float, cess: float, steps: int, patience: int = 3, wake: float = 0.0):
        super().__init__(start, cess, steps, wake)
        self.patience, self.window = patience, max(5, min(25, steps // 100))
        self.entered = 0
        self.windows: list[tuple[float, float]] = []

    @property
    def done(self) -> bool:
        """Whether the system's own temperature is reached."""
        return self.beta >= 1.0

    def observe(self, loss: Tensor) -> None:
        """Take note of the loss of a step."""
        if self.done:
            return
        self.losses.append(loss.detach().mean())
        if len(self.losses) == self.window:
            values = torch.stack(self.losses).double()
            self.windows.append((float(values.mean()), float(values.std() / math.sqrt(self.window))))
            self.losses = []

    def due(self, step: int) -> bool:
        """Whether to cool after so many steps."""
        return not (self.done or self.losses) and (self.converged or self._used_up(step))

    def course(self, step: int) -> tuple[int, int]:
        """The learning rate falls once, until the fit is over."""
        return 0, self._end

    def over(self, step: int) -> bool:
        """Whether six tenths of so many steps lie above the system's own temperature."""
        return self.done and step >= self._end

    @property
    def _end(self) -> int:
        return min(self.steps, math.ceil(self.entered / _SHARE)) if self.done else self.steps

    @property
    def converged(self) -> bool:
        """Whether the last windows bring no fall of the loss beyond their noise."""
        last, before = self.windows[-self.patience :], self.windows[: -self.patience]
        if not before:
            return False
        lowest, error = min(before)
        return all(mean > lowest - math.hypot(error, own_error) for mean, own_error in last)

    def advance(self, step: int, draws: list[Draws]) -> None:
        """Go on to the next temperature, with draws at the present one."""
        log_w, loss = draws[0].log_importance.double(), self.windows[-1][0]
        self.drawn += sum(len(d.x) for d in draws)
        fall = self.windows[-1 - self.patience :][0][0] - loss
        self.record(step, loss, log_w, len(log_w), self.converged, fall)
        self.beta = min(next_beta(self.beta, d.log_importance, d.log_target / self.beta, self.cess) for d in draws)
        self.entered, self.windows, self.losses = step, [], []

    def warnings(self) -> list[str]:
        """What a careful reader should know of the way to the system's own temperature."""
        hurried = [f"{s.beta:.3g}" for s in self.stages if not s.converged and s.fall > _NOTICEABLE]
        if not self.done or not hurried:
            return super().warnings()
        return [f"the loss was still falling at beta = {', '.join(hurried)} when the steps for it ran out"]

    def _used_up(self, step: int) -> bool:
        left = max(0.0, _SHARE * self.steps - self.entered)
        recent = [math.log(s.beta) for s in self.stages[-3:]]
        stride = (math.log(self.beta) - recent[0]) / len(recent) if recent else _STRIDE
        share = left / max(1.0, -math.log(self.beta) / stride)
        return step - self.entered >= max(share, (self.patience + 1) * self.window)

    def state(self) -> dict[str, Any]:
        """JSON that `load` takes back."""
        return {**super().state(), "entered": self.entered, "windows": self.windows}

    def load(self, state: dict[str, Any], tensors: Params) -> None:
        """Take back what `state` returned."""
        super().load(state, tensors)
        self.entered, self.windows = state["entered"], [(a, b) for a, b in state["windows"]]


def tempering(start: float, cess: float, steps: int, wake: float = 0.0) -> Schedule:
    """Adaptive tempering from an inverse temperature, or a plain schedule where that is 1.

    Parameters
    ----------
    start, cess, steps, wake
        As of `AdaptiveTempering`.

    Examples
    --------
    >>> type(tempering(0.02, 0.9, 1000)).__name__, type(tempering(1.0, 0.9, 1000)).__name__
    ('AdaptiveTempering', 'Schedule')
    """
    return Schedule(wake=wake) if start >= 1 else AdaptiveTempering(start, cess, steps, wake=wake)
