"""One table of checks that passes or fails."""

from __future__ import annotations

import math

import bayescg as bcg
from bayescg.questions.finding import Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Section

__all__ = ["Checks"]

_TITLE = "Checks"
_NOTE = (
    "Frames that were held out, against what the model says: p is how often frames of the model would look as "
    "different. With a right model one table in a hundred has any check that fails (Holm's procedure)."
)


class Checks(Question):
    """Distributions, pair distances, energies and dynamics (:func:`bayescg.analysis.checklist`)."""

    class Settings(Section):
        """Whether to make the table."""

        checks: bool = False

    def applies(self, context: Context) -> bool:
        """Where it is wanted, and frames were held out."""
        return context.settings.checks and context.test is not None and context.fit.model.needs_frames

    def ask(self, context: Context) -> Finding:
        """The table, and which checks fail."""
        assert context.test is not None
        names = list(dict.fromkeys([*context.observables, *context.torsions]))
        table = bcg.analysis.checklist(
            context.fit, context.test, context.functions(names), system=context.system,
            samples=context.settings.samples, seed=context.seed,
        )  # fmt: skip
        finding, failed = Finding(warnings=[*table.skipped, *table.warnings]), table.failed
        text = lambda value: f"{value:.4g}" if math.isfinite(value) else ""  # noqa: E731
        rows: list[tuple[str, ...]] = [
            (r.name, text(r.seen), text(r.predicted), f"{r.p:.2g}", "FAILS" if r.name in failed else "passes")
            for r in table.rows
        ]
        finding.tables[_TITLE] = Table(("check", "seen", "predicted", "p", "verdict"), rows, _NOTE)
        finding.diagnostics["checks_failed"] = failed
        finding.in_words.add("checks_failed")
        if failed:
            finding.warnings.append(f"{len(failed)} of {len(rows)} checks fail: {', '.join(failed)}")
        return finding
