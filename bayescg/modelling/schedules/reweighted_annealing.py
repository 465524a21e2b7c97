"""Reweighted annealing: at each temperature one buffer of draws, from which the next one is learned."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_numbers
from bayescg.data import effective
from bayescg.draws import pareto_smoothed
from bayescg.errors import ConfigError
from bayescg.modelling.schedules.ladder import Ladder
from bayescg.modelling.schedules.weighted import Draws
from bayescg.recording.functional import Params
from bayescg.sampling.weights import next_beta

__all__ = ["ReweightedAnnealing", "flattened"]

_STRIDE = 0.15
"""Rise of log beta that a first step is guessed to bring."""

_FOLLOWED = 0.1
"""Effective fraction of a buffer below which its weights are flattened, and its temperature gets another buffer."""

_TRIES = 2
"""Buffers of one temperature after which it is left all the same."""

_EQUAL = 1e-3
"""Spread of log weights, in nats, below which they have no tail to smooth."""

_POOR = 0.01
"""Effective fraction of a buffer below which what is learned from it is noise."""


class ReweightedAnnealing(Ladder):
    r"""Inverse temperatures from `start` to 1, all but the first learned from reweighted draws of the one before.

    In the first `warm` of all steps the guide is trained on energies at `start`. Then, again and again, `count` draws
    of the guide are made, with one energy each. They choose the next :math:`\beta`, where their conditional effective
    sample size falls to `cess`; get weights :math:`e^{-\beta U / kT} / q`, the largest ones Pareto-smoothed and all of
    them raised to a power below 1 where otherwise fewer than a tenth of the draws would count; and from them come the
    batches of the next steps, in which the guide's likelihood rises: the divergence from the target to the guide, which
    leaves no mode of the draws out. A temperature is left when a tenth of its draws count, or after two buffers. The
    temperatures share the steps up to the last fraction `refine`.

    That belongs to `rounds` at the system's own temperature. Each draws `fresh` configurations more and learns from all
    that rounds have drawn so far, those of one round weighted by its own density and as many times as its weights are
    worth; its steps grow as its buffer does. Where `fresh` is given the learning rate begins anew in each, which rounds
    of a thousand steps and more need, and short ones do not bear. What the guide can learn from few draws ends where it
    knows them by heart: a network of 240 000 numbers and 600 000 draws, say.

    Parameters
    ----------
    start, cess : float
    steps : int
        Of the whole fit.
    count : int
        Draws of a buffer.
    warm : float
    both : bool
        Whether energies go on teaching beside the buffers.
    rounds : int
    fresh : int, optional
        Draws of a round. Default: `count`, and one course of the learning rate for all steps.
    refine : float

    References
    ----------
    Schopmans, Friederich, "Temperature-annealed Boltzmann generators", arXiv:2501.19077 (2025), where the ladder is
    geometric and the largest weights are clipped. Powers of weights: Koblents, Míguez, Stat. Comput. 25, 407 (2015).
    """

    caption = (
        "Loss during the fit, in nats, of two kinds: at first minus a bound on log Z, as energies alone teach, then "
        "minus the mean log density of reweighted buffers of draws. Dotted lines: the temperature changes."
    )

    def __init__(
        self,
        start: float,
        cess: float,
        steps: int,
        count: int,
        warm: float,
        both: bool = False,
        rounds: int = 3,
        fresh: int | None = None,
        refine: float = 0.2,
    ):
        super().__init__(start, cess, steps)
        self.count, self.both, self.rounds = count, both, rounds
        self.fresh, self.anew = fresh or count, fresh is not None
        self.arrived = round((1 - refine) * steps)
        self.next = self.first = max(1, round(warm * steps))
        self.entered = 0
        self.legend = "energies, then buffers" + " and energies" * both
        self.x: Tensor | None = None
        self.share: Tensor | None = None

    @staticmethod
    def check_fractions(warm: float, refine: float) -> None:
        """Refuse what are no fractions of the steps, or leave none for the temperatures between.

        Raises
        ------
        ConfigError
        """
        check_numbers(warm=(warm, "(0, 1)"), refine=(refine, "(0, 1)"))
        if warm + refine > 1:
            raise ConfigError(
                f"warm={warm:g} and refine={refine:g} are fractions of the same steps, more than all together: leave "
                "some for the temperatures between"
            )

    @staticmethod
    def check_alone(members: int | None) -> None:
        """Refuse refits, so many at once, which cannot share a buffer.

        Raises
        ------
        ConfigError
        """
        if members is not None:
            raise ConfigError(
                "this model learns from buffers of its own draws, which refits cannot share: use uncertainty='none' "
                "and fit it with several seeds"
            )

    def observe(self, loss: Tensor) -> None:
        """Take note of the loss of a step."""
        self.losses = [*self.losses[-19:], loss.detach().mean()]

    def due(self, step: int) -> bool:
        """Whether a new buffer is to be drawn after so many steps."""
        return self.next <= step < self.steps

    def course(self, step: int) -> tuple[int, int] | None:
        """The learning rate falls once in all, or until the system's own temperature is reached and in each round."""
        if not self.anew:
            return None
        return (self.entered, self.next) if self.entered else (0, max(self.arrived, step))

    def advance(self, step: int, draws: list[Draws]) -> None:
        """Take a buffer of draws, made at the present temperature, and go on to the next."""
        before = self.beta
        x, share = self._weighted(step, draws[0])
        if self.entered and self.x is not None and self.share is not None:
            share, x = torch.cat([self.share, share]), torch.cat([self.x, x])
        self._fill(x, share)
        self.entered = step if before >= 1 else 0
        self.count = self.fresh if self.beta >= 1 else self.count
        self.losses, self.next = [], step + self._length(step)

    def _weighted(self, step: int, buffer: Draws, leave: bool = True) -> tuple[Tensor, Tensor]:
        """Draws that are possible, and how often each counts at the next temperature, if the present one is left."""
        self.drawn += len(buffer.x)
        log_w, per_beta = buffer.log_importance.double(), buffer.log_target.double() / self.beta
        possible = torch.isfinite(log_w) & torch.isfinite(per_beta)
        log_w, per_beta = log_w[possible], per_beta[possible]
        loss = float(torch.stack(self.losses).mean())
        stage = self.record(step, loss, log_w, len(possible), converged=True, fall=0.0)
        before, tried = self.beta, sum(stage.beta == self.beta for stage in self.stages)
        if leave and before < 1 and (stage.ess > _FOLLOWED or tried >= _TRIES):
            self.beta = next_beta(before, log_w, per_beta, self.cess)
        moved = (log_w + (self.beta - before) * per_beta).cpu().numpy()
        if np.ptp(moved) > _EQUAL:
            moved = flattened(pareto_smoothed(moved)[0], _FOLLOWED)
        weight = torch.as_tensor(np.exp(moved - moved.max()), device=log_w.device)
        # of averages over the same density, each counts as often as its own draws do
        return buffer.x[possible], weight * (weight.sum() / weight.square().sum())

    def _length(self, step: int) -> int:
        """Steps that a buffer serves which is drawn now."""
        begun = sum(stage.beta >= 1 for stage in self.stages)  # of the rounds
        if begun:  # the steps that are left, shared as 1 : 2 : 3
            shares = range(begun, max(begun, self.rounds) + 1)
            return max(1, math.ceil((self.steps - step) * begun / sum(shares)))
        if self.beta >= 1:
            return max(1, self.arrived - step)
        levels = sorted({*(stage.beta for stage in self.stages), self.beta})[-4:]
        stride = math.log(levels[-1] / levels[0]) / (len(levels) - 1) if len(levels) > 1 else _STRIDE
        return max(1, int((self.arrived - step) / (1 + math.ceil(-math.log(self.beta) / stride))))

    def batch(self, size: int, seed: int, device: torch.device) -> Params:
        """Configurations out of the buffer, each as often as its weight asks: ``"x"``, ``(size, dim)``."""
        if self.x is None:
            return super().batch(size, seed, device)
        return {"x": self.x[self.rows_of(size, seed, device)]}

    def rows_of(self, size: int, seed: int, device: torch.device) -> Tensor:
        """Numbers of rows of the buffer, each as often as its weight asks."""
        first = torch.rand(1, generator=torch.Generator(device).manual_seed(seed), dtype=torch.float64, device=device)
        points = (torch.arange(size, dtype=torch.float64, device=device) + first) / size
        return torch.searchsorted(self.edges, points, right=True).clamp_max(len(self.edges) - 1)

    def queried(self, steps: int, size: int) -> int:
        """Energies, with their gradients, of so many steps with batches of `size`."""
        return super().queried(steps if self.both else min(steps, self.first), size)

    def warnings(self) -> list[str]:
        """What a careful reader should know of the way to the system's own temperature."""
        messages = super().warnings()
        last = {s.beta: s.ess for s in self.stages}  # of several buffers at a temperature
        poor = [f"{beta:.3g}" for beta, ess in last.items() if ess < _POOR]
        if poor:
            messages.append(
                f"at beta = {', '.join(poor)} fewer than {_POOR:.0%} of the buffer's draws counted: what was learned "
                "after it may lack a basin, which an audit would find; give the fit more steps, or a larger buffer"
            )
        return messages

    def tensors(self) -> Params:
        """The buffer, for a checkpoint."""
        return {} if self.x is None or self.share is None else {"x": self.x, "share": self.share}

    def state(self) -> dict[str, Any]:
        """JSON that `load` takes back."""
        return {**super().state(), "next": self.next, "entered": self.entered, "count": self.count}

    def load(self, state: dict[str, Any], tensors: Params) -> None:
        """Take back what `state` and `tensors` returned."""
        super().load(state, tensors)
        self.next, self.entered, self.count = state["next"], state["entered"], state["count"]
        if "x" in tensors:
            self._fill(tensors["x"], tensors["share"])

    def _fill(self, x: Tensor, share: Tensor) -> None:
        self.x, self.share, self.edges = x, share, share.cumsum(0) / share.sum()


def flattened(log_w: np.ndarray, least: float) -> np.ndarray:
    """Log weights times the largest factor up to 1 with which this effective fraction of the draws counts.

    Examples
    --------
    >>> log_w = 3.0 * np.random.default_rng(0).normal(size=10_000)
    >>> found = torch.as_tensor(flattened(log_w, 0.1))
    >>> round(float(effective(found)) / 10_000, 3)
    0.1
    """

    def fraction(power: float) -> float:
        return float(effective(torch.as_tensor(power * log_w))) / len(log_w)

    low, high = 0.0, 1.0
    if fraction(high) >= least:
        return log_w
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fraction(middle) >= least else (low, middle)
    return low * log_w
