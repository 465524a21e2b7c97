"""Timescales against lag, and whether those of the fit's own lag say what happens at longer ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

import bayescg as bcg
from bayescg.errors import ConfigError, DataError
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Section
from bayescg.questions.slow_modes import known_rates, modes_of

if TYPE_CHECKING:
    from bayescg.analysis import SlowModes
    from bayescg.data import Frames
    from bayescg.modelling import Model

__all__ = ["LagTimes", "longest", "multiples"]

_TESTED = (1, 2, 3, 4, 5)
_LARGEST_DIFFERENCE = 0.05
_MOST_OUTSIDE = 0.3  # a tenth would be by chance


class LagTimes(Question):
    """Implied timescales at several lags, and the test of Chapman and Kolmogorov."""

    class Settings(Section):
        """Implied timescales at these `lags` (none: at multiples of the fit's own)."""

        lags: list[Annotated[float, Field(gt=0)]] = Field(default=[])

    def check(self, experiment: Any, model: type[Model]) -> None:
        """Refuse lags of a model that has no functions.

        Raises
        ------
        ConfigError
        """
        if experiment.analysis.lags and not hasattr(model, "basis"):
            raise ConfigError(
                f"analysis.lags = {experiment.analysis.lags}: {experiment.model.name} has no basis of functions in "
                "which to look for slow modes; leave them out"
            )

    def applies(self, context: Context) -> bool:
        """To models with a basis, of a lag or asked for some."""
        from bayescg.modelling import HasBasis

        model = context.fit.model
        return isinstance(model, HasBasis) and (model.lag is not None or bool(context.settings.lags))

    def ask(self, context: Context) -> Finding:
        """Timescales at each lag, and correlations at multiples of the own one."""
        from bayescg.analysis.kinetics.chapman_kolmogorov import against_lag

        finding = Finding()
        modes = modes_of(context)
        fit_lag = modes.lag
        tested = [] if fit_lag is None else multiples(fit_lag, context.frames)
        lags = context.settings.lags or [n * fit_lag for n in tested if fit_lag is not None]
        each = {lag: self._at(finding, context, lag, modes) for lag in sorted(set(lags))}
        at_lags = [answer for answer in each.values() if answer is not None]
        tested = [n for n in tested if fit_lag is None or each.get(n * fit_lag, modes) is not None]
        rates = known_rates(context, modes.eigenvalues.sizes["mode"])
        if len(at_lags) > 1:
            timescales = against_lag(at_lags)
            finding.datasets["implied_timescales"] = timescales.to_dataset()
            finding.figures["timescales"] = Drawing(
                lambda: bcg.plot.timescales(timescales, None if np.isnan(rates).all() else (1.0 / rates).tolist()),
                "Implied timescales against lag with 90 % bands; they should be flat. Grey: shorter than the lag "
                "itself. No point: at that lag the mode has no interval; the warnings say why.",
            )
        if fit_lag is not None and len(tested) > 1:
            self._test(finding, context, fit_lag, tested, modes)
        return finding

    def _at(self, finding: Finding, context: Context, lag: float, own: SlowModes) -> SlowModes | None:
        """Modes at a lag, their timescales noted; None where the frames tell too little at it."""
        modes = own
        if own.lag is None or abs(lag - own.lag) > 1e-6 * lag:
            try:
                modes = modes_of(context, lag)
            except DataError as error:
                finding.warnings.append(f"no timescale at lag {lag:g}: {error}")
                return None
            rates = known_rates(context, own.eigenvalues.sizes["mode"])
            for name, quantity in modes.quantities.items():
                kind, _, number = name.rpartition("_")
                if kind == "timescale" and not quantity.warning:
                    finding.add(f"{name}_at_{lag:g}", quantity, 1.0 / rates[int(number) - 1])
            finding.warnings += [
                f"no timescale at lag {lag:g}: {why}" for mode, why in modes.refused.items() if mode not in own.refused
            ]
        return modes

    def _test(self, finding: Finding, context: Context, lag: float, tested: list[int], modes: SlowModes) -> None:
        import xarray as xr

        settings: dict[str, Any] = {"modes": modes.eigenvalues.sizes["mode"], "draws": context.settings.draws}
        try:
            test = bcg.analysis.chapman_kolmogorov(
                context.fit, context.frames, lag, multiples=tested, seed=context.seed, **settings
            )
        except DataError as error:
            finding.warnings.append(f"no Chapman-Kolmogorov test: {error}")
            return
        size = float(abs(test.difference.mean("draw")).max())
        outside = float(test.outside.isel(lag=slice(1, None)).mean())
        finding.diagnostics |= {
            "chapman_kolmogorov_largest_difference": size, "chapman_kolmogorov_outside": outside
        }  # fmt: skip
        if size > _LARGEST_DIFFERENCE and outside > _MOST_OUTSIDE:
            finding.warnings.append(
                f"Chapman-Kolmogorov test: correlations at longer lags differ by up to {size:.2g} from what lag "
                f"{lag:g} predicts, {outside:.0%} of them by more than their 90 % intervals allow; use a longer "
                "one, or functions that resolve more"
            )
        finding.datasets["chapman_kolmogorov"] = xr.Dataset({"predicted": test.predicted, "measured": test.measured})
        finding.figures["chapman_kolmogorov"] = Drawing(
            lambda: bcg.plot.chapman_kolmogorov(test),
            "Chapman-Kolmogorov test: correlations of the modes as the fit's lag predicts them (line and band) and as "
            "they are at longer lags (points), with 90 % intervals.",
        )


def multiples(lag: float, frames: Frames) -> list[int]:
    """Of a lag, from 1 to at most 5: as far as half of the longest trajectory.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> multiples(2.0, Frames.from_numpy(np.zeros((13, 1)), unit="reduced", dt=1.0))
    [1, 2, 3]
    """
    return [n for n in _TESTED if n * lag <= longest(frames) / 2]


def longest(frames: Frames) -> float:
    """Time that the longest trajectory covers."""
    order = np.asarray(frames.order)
    ends = np.flatnonzero(np.r_[np.diff(frames.trajectory) != 0, True])
    return float((order[ends].max() - order.min()) * (frames.dt or 0.0))
