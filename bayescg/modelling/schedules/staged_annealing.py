"""Learning a generator with latent variables part by part: configurations, then what is read off them, then both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bayescg.modelling.schedules.reweighted_annealing import ReweightedAnnealing
from bayescg.modelling.schedules.weighted import Draws
from bayescg.recording.functional import Params

__all__ = ["StagedAnnealing"]

_PLAIN, _READING = 0.7, 0.1
"""Of all steps, those of the first two stages."""

_WARM, _REFINE = 0.2, 0.45
"""Of the plain steps, those at the first temperature and those at the last."""

_HOT = 0.3
"""Inverse temperature from which on draws of the annealing are read, too: rare basins are less rare there."""


class StagedAnnealing(ReweightedAnnealing):
    """`ReweightedAnnealing` of a generator without its latent variables; then these; then the generator given them.

    Trained at once, from nothing, latent variables have nothing to tell of configurations that are noise, and the
    generator learns to do without. The stages, which the programs find in `Batch.stage`:

    - ``"plain"``: the generator alone, as in `ReweightedAnnealing`.
    - ``"reading"``: from configurations ``batch.x``, the last draws of the generator as they came and those of the
      annealing from an inverse temperature of 0.3 on. Weights would make rare basins rarer, and hotter draws have more
      of them: what is read need not be a fair sample, but must not miss a basin.
    - ``""``: all of the programs, from configurations as their weights ask.

    Parameters
    ----------
    start, cess, steps, count, rounds, fresh
        As of `ReweightedAnnealing`. Of all steps seven tenths are plain and one is reading.
    """

    caption = (
        "Loss during the fit, in nats, of several kinds: minus a bound on log Z, as energies alone teach; then minus "
        "the mean log density of reweighted buffers of draws; then minus bounds on the log density of what the "
        "collective variables are read off, and of the draws themselves. Dotted lines: the temperature changes."
    )

    def __init__(self, start: float, cess: float, steps: int, count: int, rounds: int, fresh: int | None):
        plain = max(1, round(_PLAIN * steps))
        super().__init__(start, cess, plain, count, _WARM, rounds=rounds, fresh=fresh, refine=_REFINE)
        self.read, self.last = plain + max(1, round(_READING * steps)), steps
        self.stage = "plain"
        self.rows: Tensor | None = None

    def course(self, step: int) -> tuple[int, int] | None:
        """The learning rate falls once in each stage, in the first as in `ReweightedAnnealing`."""
        return {"plain": super().course(step), "reading": (self.steps, self.read), "": (self.read, self.last)}[
            self.stage
        ]

    def due(self, step: int) -> bool:
        """Whether a new buffer is to be drawn after so many steps, or a new stage begins."""
        return super().due(step) or step in (self.steps, self.read)

    def advance(self, step: int, draws: list[Draws]) -> None:
        """Take a buffer of draws, made at the present temperature, and go on to the next temperature or stage."""
        if self.stage == "reading":
            self.stage, self.rows = "", None
            return
        if _HOT < self.beta < 1 or step == self.steps:
            possible = draws[0].x[torch.isfinite(draws[0].log_importance)]
            self.rows = possible if self.rows is None else torch.cat([self.rows, possible])
        super().advance(step, draws)
        if step == self.steps:
            self.stage, self.count = "reading", 0

    def batch(self, size: int, seed: int, device: torch.device) -> Params:
        """Configurations as their weights ask; as they come, for what is read off them."""
        if self.stage != "reading" or self.rows is None:
            return super().batch(size, seed, device)
        index = torch.randint(
            len(self.rows), (size,), generator=torch.Generator(device).manual_seed(seed), device=device
        )
        return {"x": self.rows[index]}

    def tensors(self) -> Params:
        """The buffers, for a checkpoint."""
        return super().tensors() if self.rows is None else {**super().tensors(), "rows": self.rows}

    def state(self) -> dict[str, Any]:
        """JSON that `load` takes back."""
        return {**super().state(), "stage": self.stage}

    def load(self, state: dict[str, Any], tensors: Params) -> None:
        """Take back what `state` and `tensors` returned."""
        super().load(state, tensors)
        self.stage, self.rows = state["stage"], tensors.get("rows")
