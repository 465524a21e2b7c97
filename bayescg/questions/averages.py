"""Averages of observables over the reweighted draws of a fit that learned from energies."""

from __future__ import annotations

from bayescg.questions.finding import Finding
from bayescg.questions.known import by_quadrature, is_coordinate
from bayescg.questions.question import Context, Question

__all__ = ["Averages"]


class Averages(Question):
    """Averages over the system itself, by the weights of the draws."""

    def applies(self, context: Context) -> bool:
        """To weighted draws."""
        return context.weighted

    def ask(self, context: Context) -> Finding:
        """One quantity for each observable."""
        from bayescg import truth
        from bayescg.analysis.block_bootstrap import average
        from bayescg.analysis.evaluation import evaluate, unit_of

        finding, names = Finding(), context.observables
        for name, function in zip(names, context.functions(names), strict=True):
            values = evaluate(function, context.frames)
            mean = average(values, context.frames, context.settings.draws, context.seed, unit_of(function))
            finding.add(name, mean)
            if is_coordinate(name):
                exact = by_quadrature(context.system, lambda system, x=function: truth.expectation(system, x).value)
                finding.truth |= {} if exact is None else {name: exact}
        return finding
