"""What rounds of short trajectories tell of a slow process, one after the other, beside walkers that simply go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

import bayescg as bcg
from bayescg.analysis.kinetics.seeds import Seeds, seeds_or_why
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Section
from bayescg.questions.slow_modes import known_rates

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["SeededRounds"]


class SeededRounds(Question):
    """A timescale after each round, its standard deviation, and how many states were visited."""

    class Settings(Section):
        """The timescale that rounds of short trajectories are about: ``"log t1"``, ``"log t2"``, ..."""

        seeds_quantity: str = Field(default="log t1", pattern=r"^log t[1-9]$")

    def applies(self, context: Context) -> bool:
        """To trajectories of :func:`bayescg.experiments.active` with ``acquire="seeds"``."""
        return context.frames.provenance.get("sampler") == "seeds"

    def ask(self, context: Context) -> Finding:
        """The answer after the last round, and a table and a figure of all."""
        import xarray as xr

        frames, name, finding = context.frames, context.settings.seeds_quantity, Finding()
        rounds = frames.provenance["rounds"]
        last = np.cumsum(rounds)
        ways = {"seeds": [frames.subset(frames.trajectory < n) for n in last]}
        if (walkers := context.peers.get("continued")) is not None:
            length = np.bincount(walkers.trajectory)[0]
            ways["continued"] = [_beginnings(walkers, length * (k + 1) // len(rounds)) for k in range(len(rounds))]
        after = {way: [_asked(context, part) for part in parts] for way, parts in ways.items()}
        truth = -float(np.log(known_rates(context, int(name[-1]))[-1]))
        finding.add(name.replace(" ", "_"), after["seeds"][-1].estimate(rounds), truth)
        table = xr.Dataset(
            {
                "value": (("way", "round"), [[s.value for s in of] for of in after.values()]),
                "sd": (("way", "round"), [[s.sd for s in of] for of in after.values()]),
                "states": (("way", "round"), [[s.states for s in of] for of in after.values()]),
                "crossings": (("way", "round", "direction"), [[s.crossings for s in of] for of in after.values()]),
            },
            {"way": list(after), "round": np.arange(len(rounds)) + 1, "trajectories": ("round", last)},
        )
        finding.datasets["seeded_rounds"] = table
        finding.tables["Rounds"] = Table(
            (
                "after so many trajectories",
                *(f"{what}, {way}" for way in after for what in (name, "states", "crossings")),
            ),
            [(str(n), *(cell for of in after.values() for cell in _cells(of[k]))) for k, n in enumerate(last)],
            "Crossings of the process one way and the other. Walkers that go on have simulated as long.",
            brief=4,
        )
        finding.figures["seeded-rounds"] = Drawing(
            lambda: bcg.plot.seeded_rounds(table, name, truth),
            f"{name} after each round, with one standard deviation, its standard deviation alone, and the number of "
            "states that trajectories have visited: begun where they tell most, and, at equal cost, going on where "
            "they are.",
            "The band of the seeded trajectories narrows faster than that of the continued ones.",
        )
        return finding


def _asked(context: Context, frames: Frames) -> Seeds:
    settings: dict[str, Any] = {"lag": getattr(context.fit.model, "lag", None), "seed": context.seed}
    return seeds_or_why(context.fit, frames, context.settings.seeds_quantity, 1, **settings)


def _beginnings(walkers: Frames, count: int) -> Frames:
    """The first so many frames of each trajectory."""
    assert walkers.order is not None
    return walkers.subset(walkers.order < count)


def _cells(seeds: Seeds) -> tuple[str, str, str]:
    return f"{seeds.value:.3g} ± {seeds.sd:.2g}", str(seeds.states), "{} and {}".format(*seeds.crossings)
