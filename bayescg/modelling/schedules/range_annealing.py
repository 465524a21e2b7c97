"""Reweighted annealing of a guide that reads the temperature, and is then trained at a range of them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bayescg.modelling.schedules.reweighted_annealing import ReweightedAnnealing
from bayescg.modelling.schedules.weighted import Draws
from bayescg.recording.functional import Params

__all__ = ["RangeAnnealing", "levels_of"]

_RATIO = 1.15
"""Of neighbouring temperatures at which draws are made, at most."""


def levels_of(low: float) -> list[float]:
    """Inverse temperatures from 1 down to `low`, neighbours at most 15 % apart.

    Examples
    --------
    >>> [round(beta, 3) for beta in levels_of(0.7)]
    [1.0, 0.888, 0.788, 0.7]
    """
    steps = max(1, math.ceil(-math.log(low) / math.log(_RATIO)))
    return [low ** (k / steps) for k in range(steps + 1)]


class RangeAnnealing(ReweightedAnnealing):
    r"""`ReweightedAnnealing` whose rounds are at inverse temperatures from 1 down to `low`, all of them at once.

    The guide finds the inverse temperature of each configuration in ``batch.beta``, and for its draws in the buffer
    ``beta``. On the way to 1 the buffers of temperatures within the range are kept and go on teaching: half of a batch
    is of the present temperature, the others share the rest. Each round makes its draws at temperatures in a geometric
    series, neighbours of which are at most 15 % apart, and weighs those of each to that very temperature, so that none
    need be led to another; batches hold as many of each.

    Parameters
    ----------
    low : float
        Inverse temperature of the hot end of the range, in units of the system's own.
    start, cess, steps, count, warm, rounds, fresh, refine
        As of `ReweightedAnnealing`; the draws of a round are shared by its temperatures.

    Attributes
    ----------
    levels : list of float
        Inverse temperatures of a round.
    """

    def __init__(
        self,
        low: float,
        start: float,
        cess: float,
        steps: int,
        count: int,
        warm: float,
        rounds: int,
        fresh: int | None,
        refine: float,
    ):
        self.levels = levels_of(low)
        each = max(1, (fresh or count) // len(self.levels))
        super().__init__(start, cess, steps, count, warm, rounds=rounds, fresh=each, refine=refine)
        self.anew, self.low = fresh is not None, low
        self.turn = 0
        self.of: Tensor | None = None

    def due(self, step: int) -> bool:
        """Whether a buffer is to be drawn now: those of a round follow each other step by step, and end at 1."""
        begins = super().due(step) and (self.beta < 1 or step + len(self.levels) < self.steps)
        return begins or self.turn > 0

    def advance(self, step: int, draws: list[Draws]) -> None:
        """Take a buffer of draws, made at the present temperature, and go on to the next."""
        before, cooling = self.beta, self.beta < 1 and not self.turn
        x, share = self._weighted(step, draws[0], leave=cooling)
        if cooling:
            self._keep(x, share, self.beta, within=self.low)
            self.count = self.fresh if self.beta >= 1 else self.count
            self.losses, self.next = [], step + self._length(step)
            return
        self._keep(x, share, before, within=None if self.entered else math.inf)
        if not self.turn:
            self.entered, self.losses, self.next = step, [], step + self._length(step)
        self.turn = (self.turn + 1) % len(self.levels)
        self.beta = self.levels[self.turn]

    def batch(self, size: int, seed: int, device: torch.device) -> Params:
        """Configurations out of the buffers, as their weights ask, and the inverse temperature of each."""
        if self.x is None or self.of is None:
            return super().batch(size, seed, device)
        rows = self.rows_of(size, seed, device)
        return {"x": self.x[rows], "beta": self.of[rows].to(self.x.dtype)}

    def tensors(self) -> Params:
        """The buffers, for a checkpoint."""
        return super().tensors() if self.of is None else {**super().tensors(), "of": self.of}

    def state(self) -> dict[str, Any]:
        """JSON that `load` takes back."""
        return {**super().state(), "turn": self.turn}

    def load(self, state: dict[str, Any], tensors: Params) -> None:
        """Take back what `state` and `tensors` returned."""
        super().load(state, tensors)
        self.turn, self.of = state["turn"], tensors.get("of")
        if self.of is not None:
            self._share_out()

    def _keep(self, x: Tensor, share: Tensor, beta: float, within: float | None) -> None:
        """Add rows of a temperature to those that are kept: all (None), or of others those from `within` on."""
        of = torch.full_like(share, beta)
        if self.x is not None and self.share is not None and self.of is not None:
            old = torch.ones_like(self.of, dtype=torch.bool)
            if within is not None:
                old = (self.of >= within) & (self.of != beta)
            x, share, of = (
                torch.cat([self.x[old], x]),
                torch.cat([self.share[old], share]),
                torch.cat([self.of[old], of]),
            )
        self.x, self.share, self.of = x, share, of
        self._share_out()

    def _share_out(self) -> None:
        """In a batch all temperatures have the same part; on the way to the last of them the present one has half."""
        assert self.x is not None
        assert self.share is not None
        assert self.of is not None
        levels, group = self.of.unique(return_inverse=True)
        part = torch.full_like(levels, 1.0 / len(levels))
        if not self.entered and len(levels) > 1:
            part = torch.full_like(levels, 0.5 / (len(levels) - 1))
            part[-1] = 0.5  # the coldest
        whole = torch.zeros_like(levels).index_add_(0, group, self.share)
        self.edges = (self.share * (part / whole)[group]).cumsum(0)
        self.edges = self.edges / self.edges[-1]
