"""Averages of observables over the reweighted draws of a fit that learned from energies."""

from __future__ import annotations

from bayescg.questions.finding import Finding
from bayescg.questions.known import exact_average
from bayescg.questions.question import Context, Question

__all__ = ["Averages"]


class Averages(Question):
    """Averages over the system itself, by the weights of the draws."""

    def applies(self, context: Context) -> bool:
        """To weighted draws."""
        return context.weighted

    def ask(self, context: Context) -> Finding:
        """One quantity for each observable."""
        from bayescg.analysis.evaluation import evaluate, unit_of
        from bayescg.analysis.resampled import average

        finding, names = Finding(), context.observables
        for name, function in zip(names, context.functions(names), strict=True):
            values = evaluate(function, context.frames)
            mean = average(values, context.frames, context.settings.draws, context.seed, unit_of(function))
            finding.add(name, mean, exact_average(context.system, function))
        return finding
