"""How the fit was trained."""

from __future__ import annotations

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding
from bayescg.questions.question import Context, Question

__all__ = ["Training"]


class Training(Question):
    """The figure of the loss."""

    def applies(self, context: Context) -> bool:
        """To fits that kept their log, of more than a step."""
        return len(context.fit.log) > 1

    def ask(self, context: Context) -> Finding:
        """One figure."""
        return Finding(figures={"loss": Drawing(lambda: bcg.plot.loss(context.fit), _caption(context))})


def _caption(context: Context) -> str:
    from bayescg.plot.fits import loss_unit

    fit = context.fit
    if fit.model.needs_frames:
        held_out = any(row.get("validation") is not None for row in fit.log)
        unit = loss_unit(fit.model)
        what = f"in {unit}" if unit else "which is no likelihood: only its fall means anything"
        return f"Loss{' and held-out loss' if held_out else ''} during the fit, {what}."
    return fit.schedule.caption
