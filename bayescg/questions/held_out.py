"""How well frames that were held out are described, and how good the guide is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from bayescg.questions.finding import Finding
from bayescg.questions.question import Context, Question

__all__ = ["HeldOut"]

_FRAMES, _FEWER = 1000, 200
_MOST_POOR = 0.1


class HeldOut(Question):
    """Log density of frames that the fit has not seen, and Pareto k of the guide's importance weights."""

    def applies(self, context: Context) -> bool:
        """To models of frames that have a likelihood, where some frames were held out."""
        model = context.fit.model
        return context.test is not None and model.kind == "evidence" and model.needs_frames and not model.needs_pairs

    def ask(self, context: Context) -> Finding:
        """One quantity, and diagnostics of the guide."""
        from bayescg.analysis import Quantity
        from bayescg.analysis.comparing.conformations import log_volume
        from bayescg.analysis.resampled import average
        from bayescg.data import evenly

        fit, test = context.fit, context.test
        assert test is not None
        few = test.subset(evenly(test, _FRAMES))
        density = fit.log_density(few, fit.weights.members, seed=context.seed).double().cpu().numpy()
        density = density - log_volume(fit, few)
        mean = average(density.mean(0), few, context.settings.draws, context.seed, "nat")
        draws, sources = mean.draws, mean.sd_by_source
        if len(density) > 1:
            refits = density.mean(1)
            draws = mean.mean + np.add.outer(_deviations(draws), _deviations(refits)).ravel()
            sources = {**sources, "parameter": float(refits.std(ddof=1))}
        finding = Finding()
        sd = math.hypot(*(s or 0.0 for s in sources.values()))
        finding.add("held_out_log_density", replace(Quantity.of(draws, "nat/frame", sd_by_source=sources), sd=sd))
        quality = fit.guide_quality(few.subset(slice(None, None, max(1, len(few) // _FEWER))), seed=context.seed)
        finding.diagnostics |= quality
        poor = quality["pareto_k_share_above_0.7"]
        if poor > _MOST_POOR:
            finding.warnings.append(
                f"the guide is a poor approximation of p(z | x) for {poor:.0%} of the held-out frames (Pareto k above "
                f"0.7, largest {quality['pareto_k_largest']:.2f}): their log densities are rough lower bounds"
            )
        return finding


def _deviations(draws: np.ndarray) -> np.ndarray:
    """From the mean, widened as the draws' own mean is nearer to them than the true one."""
    return (draws - draws.mean()) * np.sqrt(len(draws) / (len(draws) - 1))
