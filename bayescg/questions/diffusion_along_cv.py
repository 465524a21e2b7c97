"""Free energy and diffusion along a variable, its timescales, and the lag from which on they no longer change."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.lag_times import longest
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Section
from bayescg.questions.slow_modes import known_rates

if TYPE_CHECKING:
    from bayescg.analysis import DiffusionDraws

__all__ = ["DiffusionAlongCV"]

_MODES = 2
_PARTS = (0.25, 0.5, 1.0, 2.0, 3.0)
_MOST_OF_A_TRAJECTORY = 0.25


class DiffusionAlongCV(Question):
    """Effective dynamics at its own lag, learned again at others, from which it must not differ."""

    class Settings(Section):
        """Learn the dynamics again at these lags (none: at parts and multiples of the fit's own)."""

        diffusion_lags: list[Annotated[float, Field(gt=0)]] = Field(default=[])

    def applies(self, context: Context) -> bool:
        """To effective dynamics of one variable."""
        return callable(getattr(getattr(context.fit, "model", None), "profiles", None))

    def ask(self, context: Context) -> Finding:
        """Timescales, the mean of D, and whether longer lags say the same."""
        import xarray as xr

        finding, draws, lag = Finding(), context.settings.draws, context.fit.model.lag
        if context.fit.weights.kind == "none":
            finding.warnings.append(
                "the fit has no parameter uncertainty: F and D have no bands, timescales none either"
            )
            return finding
        fitted = bcg.analysis.effective_dynamics(context.fit, draws, _MODES, context.seed)
        dynamics = sorted([fitted, *self._at_others(context, lag)], key=lambda each: each.lag)
        fitted = self._judged(finding, fitted, dynamics)
        rates = known_rates(context, _MODES)
        for name, quantity in fitted.quantities.items():
            number = name.rpartition("_")[2]
            finding.add(name, quantity, 1.0 / rates[int(number) - 1] if number.isdigit() else np.nan)
        finding.diagnostics |= {
            "diffusion_told_by_the_data": float(fitted.told.mean()),
            "cells": int(fitted.free_energy.sizes["z"]),
            "timescale_1_at_lags": {f"{each.lag:g}": float(each.timescales.sel(mode=1).mean()) for each in dynamics},
        }
        finding.datasets["effective_dynamics"] = xr.Dataset(
            {"free_energy": fitted.free_energy, "diffusion": fitted.diffusion, "told": fitted.told}
            | {"eigenvalue": fitted.eigenvalues}
        )
        finding.figures["effective_dynamics"] = Drawing(
            lambda: bcg.plot.effective_dynamics(fitted, context.settings.level, "z"),
            f"Free energy and diffusion along the variable, learned at lag {lag:g}, with bands. Grey: the prior says "
            "more of the diffusion than the data.",
        )
        if len(dynamics) > 1:
            lags = xr.DataArray([each.lag for each in dynamics], dims="lag", name="lag")
            against = xr.concat([each.timescales for each in dynamics], dim=lags).assign_attrs(unit=fitted.unit)
            finding.figures["timescales_of_effective_dynamics"] = Drawing(
                lambda: bcg.plot.timescales(against, None if np.isnan(rates).any() else (1.0 / rates).tolist()),
                "Timescales of effective dynamics learned at several lags. Where they rise, the variable alone is not "
                "Markov; from where they are flat, it is.",
            )
        return finding

    def _at_others(self, context: Context, lag: float) -> list[DiffusionDraws]:
        """The same dynamics, learned from pairs of other lags."""
        frames, fit = context.frames, context.fit
        dt, most = float(frames.dt or lag), max(_MOST_OF_A_TRAJECTORY * longest(frames), 1.01 * lag)
        wanted = context.settings.diffusion_lags or [part * lag for part in _PARTS]
        times = [each / dt for each in wanted if each <= most]
        steps = sorted({round(time) for time in times if abs(time - round(time)) < 1e-3})
        settings: dict[str, Any] = {"uncertainty": fit.weights.kind, "seed": context.seed, "progress": False}
        fits = [
            bcg.fit(fit.model.anew(), frames.lagged(n * dt), **settings)
            for n in steps
            if n > 0 and abs(n * dt - lag) > 1e-6 * lag
        ]
        return [bcg.analysis.effective_dynamics(each, context.settings.draws, _MODES, context.seed) for each in fits]

    def _judged(self, finding: Finding, fitted: DiffusionDraws, dynamics: list[DiffusionDraws]) -> DiffusionDraws:
        """The own dynamics, with what its lags make one doubt."""
        longer = sum(each.lag > fitted.lag for each in dynamics)
        if longer < 2:
            finding.warnings.append(
                f"only {longer} longer lags than {fitted.lag:g} fit into the trajectories: whether the variable is "
                "Markov at it is not known; simulate longer trajectories"
            )
            return fitted
        flat = bcg.analysis.flat_from(dynamics)
        finding.diagnostics["flat_from_lag"] = flat.lag
        if flat.lag is not None and flat.lag <= fitted.lag * (1 + 1e-6):
            return fitted
        where = "at none of these lags" if flat.lag is None else f"from lag {flat.lag:g} on"
        return replace(
            fitted,
            doubt=f"at lag {fitted.lag:g} the variable is not Markov: timescales, F or D change at longer lags, and "
            f"are flat {where}; use a longer lag, or a variable that leaves less out",
        )
