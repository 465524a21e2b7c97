"""What a fit that learned from energies has left out: an audit by annealing, or by independent draws of the system."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import bayescg as bcg
from bayescg.questions.finding import Finding
from bayescg.questions.question import Context, Question
from bayescg.questions.samples import TRUST, percent
from bayescg.questions.sections import Section

__all__ = ["MissingMass"]

_EXACT = 20_000
"""Independent draws of a system that an audit compares with."""


class MissingMass(Question):
    """How much of the probability is left out (:func:`bayescg.analysis.audit`)."""

    class Settings(Section):
        """Compare with annealing, or, ``"exact"``, with independent draws of a system of :mod:`bayescg.systems`.

        Of annealing, `audit_evaluations` are the energies and forces, the more, the smaller a mode that can be found;
        as many as the fit took where nothing is said.
        """

        audit: bool | Literal["exact"] = True
        audit_evaluations: int | None = Field(default=None, ge=1)

    def applies(self, context: Context) -> bool:
        """To weighted draws."""
        return context.weighted

    def ask(self, context: Context) -> Finding:
        """Free energies that are asked for after it repeat its warnings."""
        finding, how = Finding(), context.settings.audit
        if not how:
            finding.remark(TRUST, "No audit was made (analysis.audit = false): what was left out, nothing can tell.")
            return finding
        draws = bcg.sampling.equilibrium(context.system, _EXACT, seed=context.seed) if how == "exact" else None
        budget = context.settings.audit_evaluations
        audited = bcg.analysis.audit(context.fit, draws, seed=context.seed, evaluations=budget)
        numbers = audited.to_dict()
        if draws is not None:
            numbers["reference"] = "independent draws of the system itself"
        numbers["audit_energy_evaluations"] = numbers.pop("energy_evaluations")
        finding.diagnostics |= numbers
        finding.in_words.add("missing_mass_ci90")
        finding.warnings += audited.warnings
        low, high = numbers["missing_mass_ci90"]
        share, forward = numbers["missing_mass"], numbers["forward_ess_fraction"]
        finding.remark(
            TRUST,
            f"Audit, by {numbers['reference']}: {percent(share)} of the probability is left out (90 % interval "
            f"{percent(low)} to {percent(high)}); forward effective fraction {percent(forward)}. It took another "
            f"{numbers['audit_energy_evaluations']:,} energies.",
        )
        return finding
