"""How much the CVs of a molecule that was learned from energies tell of it, and what they follow."""

from __future__ import annotations

import bayescg as bcg
from bayescg.questions.finding import Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.questions.samples import TRUST

__all__ = ["WhatCVsFollow"]

_COLLAPSED = 1.0
"""Nats: less than three states that are nats apart."""


class WhatCVsFollow(Question):
    """Mutual information of CVs and configurations, and the variance of observables that the CVs explain."""

    def applies(self, context: Context) -> bool:
        """To the CVs of a molecule that were learned from energies: their weights cannot tell that they collapsed."""
        from bayescg.modelling import HasBasis, HasCV

        model = context.fit.model
        learned = isinstance(model, HasCV) and not isinstance(model, HasBasis)
        return context.weighted and learned and context.frames.topology is not None

    def ask(self, context: Context) -> Finding:
        """A quantity, and a table."""
        names = list(dict.fromkeys([*context.torsions, *context.observables]))
        information = bcg.analysis.cv_information(
            context.fit, context.frames, context.functions(names), context.settings.draws, context.seed
        )
        finding = Finding()
        finding.add("cv_information", information.mutual_information)
        finding.diagnostics["explained_by_cvs"] = information.explained
        finding.diagnostics["explained_by_draws_of_cvs"] = information.explained_by_draw
        finding.in_words |= {"explained_by_cvs", "explained_by_draws_of_cvs"}
        finding.tables["What the collective variables follow"] = Table(
            ("observable", "R squared", "of one draw"),
            [
                (name, f"{value:.2f}", f"{information.explained_by_draw[name]:.2f}")
                for name, value in information.explained.items()
            ],
            note="The fraction of an observable's variance that is known where the mean collective variables are, and "
            "where one draw of them is; of a torsion, that of its cosine and of its sine.",
        )
        nats = information.mutual_information.mean
        finding.remark(TRUST, f"The collective variables tell {nats:.2g} nats of a configuration.")
        if nats < _COLLAPSED:
            finding.warnings.append(
                f"the collective variables tell {nats:.2g} nats of a configuration, less than {_COLLAPSED:g}: they "
                "have collapsed, and no free energy over them means anything; give the fit more steps, or more of them"
            )
        return finding
