"""Other models of the same frames: which describes better what none of them has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bayescg as bcg
from bayescg.data import evenly
from bayescg.errors import ConfigError, ModelError
from bayescg.questions.finding import Finding, Table
from bayescg.questions.predictions import checked, row_of
from bayescg.questions.question import Context, Question

if TYPE_CHECKING:
    from bayescg.inference import Fit

__all__ = ["BesideOthers"]

_FRAMES = 2000
_TABLE = "Beside other models"
_COLUMNS = ("held-out frames", "average off by", "spread off by", "p (average)", "p (spread)", "bins in band")
_NOTE = "The predictive check of each model that learned from the same frames."
_HEADING = "Other models of the same frames"


class BesideOthers(Question):
    """Held-out log densities and predictive checks of models that were trained on the same frames."""

    def applies(self, context: Context) -> bool:
        """To runs with other models beside that of the fit, where some frames were held out."""
        return bool(context.beside) and context.test is not None

    def ask(self, context: Context) -> Finding:
        """By how much the log density is above that of each other model; a row of each observable and model."""
        finding = Finding()
        rows: list[tuple[str, ...]] = []
        for name, fit in context.beside.items():
            self._densities(finding, context, name, fit)
            finding.remark(_HEADING, *(f"{name}: {warning}." for warning in fit.diagnostics["warnings"]))
        for name, fit in {"this run": context.fit, **context.beside}.items():
            try:
                check = checked(context, fit)
            except ModelError as error:
                finding.remark(_HEADING, f"{name} predicts no averages: {error}.")
                continue
            rows += [(f"{observable.name}, {name}", *row_of(observable)[1:-1]) for observable in check]
        order = list(dict.fromkeys(row[0].split(",")[0] for row in rows))
        rows.sort(key=lambda row: order.index(row[0].split(",")[0]))
        finding.tables[_TABLE] = Table(_COLUMNS, rows, _NOTE, brief=3)
        finding.in_words.add("beside_others")
        return finding

    def _densities(self, finding: Finding, context: Context, name: str, fit: Fit) -> None:
        """The difference of held-out log densities, where these are of one thing."""
        assert context.test is not None
        few = context.test.subset(evenly(context.test, _FRAMES))
        try:
            comparison = bcg.analysis.compare({"model": context.fit, name: fit}, few)
        except ConfigError:
            finding.remark(_HEADING, f"The density of {name} is over other coordinates: only predictions are compared.")
            return
        above = comparison.difference("model", name)
        finding.add(f"log_density_above_{name}", above)
        nats = f"{above.mean:.2f} ± {above.sd:.2f} nats a frame"
        finding.remark(_HEADING, f"The log density of held-out frames is {nats} above that of {name}.")
