"""Adaptive tempering: when a fit may cool its system, and by how much."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from bayescg.data import effective
from bayescg.modelling.schedules.schedule import Schedule, Stage
from bayescg.modelling.schedules.weighted import Draws
from bayescg.recording.functional import Params
from bayescg.sampling.weights import next_beta

__all__ = ["AdaptiveTempering"]

_SHARE = 0.6
"""Of all steps, in which the system's own temperature is to be reached."""

_STRIDE = 0.35
"""Rise of log beta that a first step is guessed to bring."""

_DRAWS = 10_000
"""Weighted draws from which a step in temperature is chosen."""

_NOTICEABLE = 0.05
"""Nats of the divergence that a step in temperature brings at a conditional effective sample size of 0.9."""


class AdaptiveTempering(Schedule):
    r"""Inverse temperatures from `start` to 1, each kept until the loss has stopped falling.

    The loss is averaged over windows of steps. It has converged when, in the last `patience` windows, no mean lay below
    the lowest before them by more than its standard error. The next :math:`\beta` is the one where the conditional
    effective sample size of the draws falls to `cess` (:func:`bayescg.sampling.weights.next_beta`). So that 1 is
    reached after six tenths of all steps, a temperature is left without convergence when its share of the steps is used
    up, and `Stage.converged` says so; shares follow the steps and the temperatures that are left.

    Parameters
    ----------
    start : float
    cess : float
    steps : int
        Of the whole fit.
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
        super().__init__(wake=wake)
        self.beta, self.cess, self.steps, self.patience = start, cess, steps, patience
        self.window = max(5, min(50, steps // 100))
        self.entered = 0
        self.stages: list[Stage] = []
        self.windows: list[tuple[float, float]] = []
        self.losses: list[Tensor] = []

    @property
    def done(self) -> bool:
        """Whether the system's own temperature is reached."""
        return self.beta >= 1.0

    def buffers(self) -> dict[str, float]:
        """The inverse temperature."""
        return {"beta": self.beta}

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
        first = draws[0].log_importance.double()
        log_z = float(torch.logsumexp(first, 0)) - math.log(len(first))
        ess = float(effective(first)) / len(first)
        loss, before = self.windows[-1][0], self.windows[-1 - self.patience :][0][0]
        self.stages.append(Stage(self.beta, step, loss, log_z, ess, self.converged, before - loss))
        self.beta = min(next_beta(self.beta, d.log_importance, d.log_target / self.beta, self.cess) for d in draws)
        self.entered, self.windows, self.losses = step, [], []

    def warnings(self) -> list[str]:
        """What a careful reader should know of the way to the system's own temperature."""
        if not self.done:
            return [
                f"the fit ended at beta = {self.beta:.3g}, before the system's own temperature (1) was reached: give "
                "it more steps"
            ]
        hurried = [f"{s.beta:.3g}" for s in self.stages if not s.converged and s.fall > _NOTICEABLE]
        if not hurried:
            return []
        return [f"the loss was still falling at beta = {', '.join(hurried)} when the steps for it ran out"]

    def _used_up(self, step: int) -> bool:
        left = max(0.0, _SHARE * self.steps - self.entered)
        recent = [math.log(s.beta) for s in self.stages[-3:]]
        stride = (math.log(self.beta) - recent[0]) / len(recent) if recent else _STRIDE
        share = left / max(1.0, -math.log(self.beta) / stride)
        return step - self.entered >= max(share, (self.patience + 1) * self.window)

    def diagnostics(self) -> dict[str, Any]:
        """The temperatures."""
        return {"tempering": [asdict(stage) for stage in self.stages]}

    def state(self) -> dict[str, Any]:
        """JSON that `load` takes back."""
        return {
            "beta": self.beta, "entered": self.entered, "stages": [asdict(s) for s in self.stages],
            "windows": self.windows, "losses": [float(v) for v in self.losses],
        }  # fmt: skip

    def queried(self, steps: int, size: int, members: int) -> int:
        """Energies computed in so many steps with batches of `size`, those of all refits."""
        return super().queried(steps, size, members) + len(self.stages) * self.count * members

    def load(self, state: dict[str, Any], tensors: Params) -> None:
        """Take back what `state` returned."""
        self.beta, self.entered = state["beta"], state["entered"]
        self.stages = [Stage(**s) for s in state["stages"]]
        self.windows = [(a, b) for a, b in state["windows"]]
        self.losses = [torch.tensor(v) for v in state["losses"]]
