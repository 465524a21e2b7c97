"""Inverse temperatures that rise to 1 as a fit goes on, and the record of each."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from bayescg.data import effective
from bayescg.modelling.schedules.schedule import Schedule
from bayescg.recording.functional import Params

__all__ = ["Ladder", "Stage"]


@dataclass(frozen=True)
class Stage:
    """One temperature of a fit, as it was left.

    Attributes
    ----------
    beta : float
    step : int
        At which it was left.
    loss : float
        Mean of the last window: minus a bound on log Z at `beta`.
    log_z : float
        Estimate of log Z by the draws' weights.
    ess : float
        Effective fraction of the draws' weights.
    converged : bool
        False where the steps left did not allow to wait.
    fall : float
        By how many nats the loss still fell in the last windows.
    """

    beta: float
    step: int
    loss: float
    log_z: float
    ess: float
    converged: bool
    fall: float


class Ladder(Schedule):
    """Base of schedules that raise the buffer ``beta`` of a model from `start` to 1.

    Parameters
    ----------
    start, cess : float
        First inverse temperature, and the conditional effective sample size that a step in temperature keeps.
    steps : int
        Of the whole fit.
    wake : float
        As in `Schedule`.

    Attributes
    ----------
    beta : float
    stages : list of Stage
        The temperatures that were left.
    """

    def __init__(self, start: float, cess: float, steps: int, wake: float = 0.0):
        super().__init__(wake=wake)
        self.beta, self.cess, self.steps = start, cess, steps
        self.stages: list[Stage] = []
        self.losses: list[Tensor] = []

    def buffers(self) -> dict[str, float]:
        """The inverse temperature."""
        return {"beta": self.beta}

    def record(self, step: int, loss: float, log_w: Tensor, count: int, converged: bool, fall: float) -> Stage:
        """Add the present temperature to the stages, with the log weights of `count` draws that were possible."""
        log_z = float(torch.logsumexp(log_w, 0)) - math.log(count)
        self.stages.append(Stage(self.beta, step, loss, log_z, float(effective(log_w)) / count, converged, fall))
        return self.stages[-1]

    def diagnostics(self) -> dict[str, Any]:
        """The temperatures."""
        return {"tempering": [asdict(stage) for stage in self.stages]}

    def warnings(self) -> list[str]:
        """What a careful reader should know of the way to the system's own temperature."""
        if self.beta >= 1:
            return []
        return [
            f"the fit ended at beta = {self.beta:.3g}, before the system's own temperature (1) was reached: give "
            "it more steps"
        ]

    def state(self) -> dict[str, Any]:
        """JSON for a checkpoint, which `load` takes back."""
        stages, losses = [asdict(stage) for stage in self.stages], [float(loss) for loss in self.losses]
        return {"beta": self.beta, "stages": stages, "losses": losses, "drawn": self.drawn}

    def load(self, state: dict[str, Any], tensors: Params) -> None:
        """Take back what `state` and `tensors` returned."""
        self.beta, self.stages = state["beta"], [Stage(**stage) for stage in state["stages"]]
        self.losses, self.drawn = [torch.tensor(loss) for loss in state["losses"]], state["drawn"]
