"""What averages are made of: how many frames or weighted draws count, and the partition function of the latter."""

from __future__ import annotations

import numpy as np

from bayescg.questions.finding import Finding
from bayescg.questions.known import by_quadrature
from bayescg.questions.question import Context, Question

__all__ = ["TRUST", "Samples"]

TRUST = "How far to trust it"
_FRAMES = (
    "Standard deviations: from finite, correlated frames (sampling), from finite training (parameter), and from what "
    "the collective variables forget (intrinsic). Their squares add up to that of the sd above."
)
_DRAWS = (
    "Standard deviations: from finitely many weighted draws (sampling), and from how refits differ (parameter; none "
    "without an ensemble, and what no refit visits is in neither). Their squares add up to that of the sd above."
)


class Samples(Question):
    """How many frames count; of weighted draws, also log Z."""

    def applies(self, context: Context) -> bool:
        """Always."""
        return True

    def ask(self, context: Context) -> Finding:
        """Effective numbers."""
        return self._of_draws(context) if context.weighted else self._of_frames(context)

    def _of_frames(self, context: Context) -> Finding:
        told = ("effective_frames", "statistical_inefficiency")
        return Finding(diagnostics={k: context.fit.diagnostics[k] for k in told}, sources=_FRAMES)

    def _of_draws(self, context: Context) -> Finding:
        from bayescg import truth
        from bayescg.analysis.free_energy.refits import apart_in_log_z, log_partition

        draws, provenance = context.frames, context.frames.provenance
        share, k = float(np.mean(provenance["ess_fraction"])), provenance["pareto_k"]
        energies = context.fit.cost["energy_evaluations"] + provenance["energy_evaluations"]
        finding = Finding(sources=_DRAWS)
        exact = by_quadrature(context.system, lambda system: truth.log_partition(system).value)
        finding.add("log_z", log_partition(draws, context.settings.draws, context.seed), exact)
        finding.diagnostics |= {"weighted_draws": len(draws), "pareto_k": k, "ess_fraction": share}
        finding.warnings += [apart] if (apart := apart_in_log_z(draws)) else []
        finding.remark(
            TRUST,
            f"Of {len(draws):,} weighted draws {len(draws) * share:,.0f} count (effective fraction {percent(share)}, "
            f"Pareto k {k:.2f}): blind to what the generator never visits.",
            f"Energies: {energies:,}, those of the weighted draws among them; "
            f"{context.fit.cost['energy_gradients']:,} of them with gradients.",
        )
        return finding


def percent(share: float) -> str:
    """A share of 1 as a reader wants it.

    Examples
    --------
    >>> percent(0.0123), percent(1.2e-5)
    ('1.23 %', '0.001 %')
    """
    return f"{100 * share:.3g} %" if share >= 1e-4 else f"{100 * share:.1g} %"
