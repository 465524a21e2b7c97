"""Whether the forces of frames are theirs: identities that need no model."""

from __future__ import annotations

import bayescg as bcg
from bayescg.questions.finding import Finding, Table
from bayescg.questions.question import Context, Question

__all__ = ["ForcesOfTheFrames"]


class ForcesOfTheFrames(Question):
    """Temperatures that the forces have, pair by pair, which should be that of the frames."""

    def applies(self, context: Context) -> bool:
        """To frames with forces and a temperature, which are not reweighted draws of the fit's own."""
        frames = context.frames
        known = frames.temperature is not None or frames.temperature_kT is not None
        return frames.forces is not None and known and not context.weighted

    def ask(self, context: Context) -> Finding:
        """A table of pairs, and a warning where forces and frames do not go together."""
        check, finding = bcg.analysis.stein_check(context.frames, seed=context.seed), Finding()
        finding.diagnostics["forces"] = {
            "passed": check.passed,
            "p_value": check.p_value,
            "temperature_ratio": check.overall.mean,
            "largest_deviation": float(abs(check.z).max()),
        }
        finding.in_words.add("forces")
        finding.remark("Forces", f"{check.reason[0].upper()}{check.reason[1:]}.")
        if not check.passed:
            finding.warnings.append(check.reason)
        rows = []
        for label, (force, scale), ratio in zip(check.labels, check.z, check.temperature_ratio, strict=True):
            low, high = ratio.ci90 or (float("nan"), float("nan"))
            rows.append((label, f"{force:.1f}", f"{ratio.mean:.3f}", f"{low:.3f} to {high:.3f}", f"{scale:.1f}"))
        finding.tables["Forces and frames"] = Table(
            ("pair", "mean force, deviation", "temperature ratio", "90 % interval", "deviation"),
            rows,
            "Deviations are in standard errors. The temperature ratio is that of the forces over that of the frames, "
            f"and should be 1. Right forces fail in {check.level:.0%} of all runs, by the worst of all these numbers.",
            brief=3,
        )
        return finding
