"""Rates between states, from the free energy and the diffusion along the CV that windows lie along."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

import bayescg as bcg
from bayescg.questions.finding import Finding
from bayescg.questions.known import by_quadrature, state
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Section

__all__ = ["ReactionRates"]


class Rates(Section):
    """``[analysis]``: `rates` are pairs of states, of which the overdamped rates both ways are asked.

    States are those of the system or names of `regions`. A molecule needs `diffusion`, in nm²/ps.
    """

    rates: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(default=[])
    diffusion: float | None = Field(default=None, gt=0)


class ReactionRates(Question):
    """Overdamped rates, and mean first-passage times."""

    Settings = Rates

    def applies(self, context: Context) -> bool:
        """To biased frames, where ``analysis.rates`` names states."""
        return context.frames.bias is not None and bool(context.settings.rates)

    def ask(self, context: Context) -> Finding:
        """Two rates and two times for each pair, beside those of a finite-volume generator."""
        finding, settings = Finding(), context.settings
        for names in settings.rates:
            a, b = (state(context.system, settings.regions, name) for name in names)
            rates = bcg.analysis.rates(
                context.fit, context.frames, a, b, diffusion=settings.diffusion, draws=settings.draws, seed=context.seed
            )
            exact = by_quadrature(context.system, lambda system, a=a, b=b: bcg.truth.reaction_rates(system, a, b))
            ways = {"ab": names, "ba": names[::-1]}
            for name, quantity in rates.quantities.items():
                kind, way = name.split("_")
                rate = None if exact is None else exact[way == "ba"].value
                exact_value = None if rate is None else rate if kind == "rate" else 1.0 / rate
                finding.add(f"{kind}_{ways[way][0]}_to_{ways[way][1]}", quantity, exact_value)
        finding.warnings.append(
            "rates along a CV are upper bounds, exact only where its level sets are the committor's: their intervals "
            "are about the bound, and may lie above the rate"
        )
        return finding
