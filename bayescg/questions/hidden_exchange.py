"""Hidden states behind the frames: how probable they are, what they show, and how slowly they exchange."""

from __future__ import annotations

import numpy as np

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.question import Context, Question
from bayescg.questions.slow_modes import known_rates

__all__ = ["HiddenExchange"]

_TIMESCALES = 3


class HiddenExchange(Question):
    """Timescales and populations of hidden states (:func:`bayescg.analysis.hidden_states`)."""

    def applies(self, context: Context) -> bool:
        """To hidden Markov models."""
        return callable(getattr(getattr(context.fit, "model", None), "paths", None))

    def ask(self, context: Context) -> Finding:
        """The slowest timescales beside exact ones, populations, and the score of stretches that were held out."""
        finding, fit = Finding(), context.fit
        if fit.weights.members is None:
            finding.warnings.append("the fit has no refits: hidden states have no intervals; set fit.uncertainty")
            return finding
        hidden = bcg.analysis.hidden_states(fit, context.frames, context.settings.draws, context.seed)
        finding.warnings += hidden.warnings
        slow = min(_TIMESCALES, hidden.timescales.sizes["mode"])
        exact = 1.0 / known_rates(context, slow) if slow else np.empty(0)
        truth = None if np.isnan(exact).any() else exact.tolist()
        for name, quantity in hidden.quantities.items():
            kind, _, number = name.rpartition("_")
            if kind == "population" or int(number) <= slow:
                finding.add(name, quantity, exact[int(number) - 1] if kind == "timescale" else None)
        finding.diagnostics |= {"hidden_states_entered": hidden.entries.tolist(), "lag": hidden.lag}
        if context.test is not None:
            score = bcg.analysis.compare({"fit": fit}, context.test)["fit"]
            finding.diagnostics |= {"held_out_log_score": score.score, "held_out_log_score_se": score.se}
        finding.datasets["hidden_states"] = hidden.to_dataset()
        finding.figures["hidden_states"] = Drawing(
            lambda: bcg.plot.hidden_states(hidden, truth, context.settings.level),
            "What each hidden state shows, how probable it is, and timescales of the exchange between hidden states; "
            "below the lag (grey) nothing is known of them, and modes that have no interval are left out.",
        )
        return finding
