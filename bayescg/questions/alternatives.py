"""Whether the data prefer another number of CVs, another architecture, more states: the model with other arguments."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pydantic import Field

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Section

if TYPE_CHECKING:
    from bayescg.analysis import Comparison
    from bayescg.modelling import Model

__all__ = ["Alternatives", "said_of"]

_AS_RUN = "this run"
_HEADING = "Comparison of models"
_NOTE = (
    "Mean over blocks of frames that the models have not seen, higher is better. A difference from the best is taken "
    "block by block; those that are tied the data cannot tell from it with 95 % certainty: of these take the simplest."
)
_NOTE_OF_BOUNDS = (
    "The higher, the nearer is the fit to the system. Errors are of the draws; those that are tied the draws cannot "
    "tell from the best with 95 % certainty."
)
_WHAT = {
    "log_score": "Log density of a frame, in nats", "forces": "Minus the mean square of the missed force",
    "commitments": "Log probability of a frame's shots, in nats", "steps": "Minus the mean square of the missed step",
    "log_z": "Lower bound of log Z, in nats", "vamp2": "VAMP-2", "vampe": "VAMP-E", "timescales": "Sum of timescales",
}  # fmt: skip


class Alternatives(Question):
    """The run's model and others of its class, each trained anew on folds of the frames: which describes them best."""

    class Settings(Section):
        """Arguments of the model that are to be others, by a name for each: "1 CV" = { latent_dim = 1 }.

        All are trained anew on each of so many `folds`, `restarts` times. Models of other lags are scored by their slow
        modes, all at the longest lag.
        """

        alternatives: dict[str, dict[str, Any]] = Field(default={})
        folds: int = Field(default=5, ge=3)
        restarts: int = Field(default=1, ge=1)

    def check(self, experiment: Any, model: type[Model]) -> None:
        """Refuse arguments that the model does not take."""
        accepted = set(inspect.signature(model).parameters)
        for name, arguments in experiment.analysis.alternatives.items():
            if unknown := sorted(set(arguments) - accepted):
                raise ConfigError(
                    f"analysis.alternatives.{name}: {model.__name__} takes no argument {unknown[0]!r}; there are "
                    f"{', '.join(sorted(accepted))}"
                )

    def applies(self, context: Context) -> bool:
        """To models of frames, where alternatives are given."""
        return bool(context.settings.alternatives) and context.fit.model.needs_frames and not context.weighted

    def ask(self, context: Context) -> Finding:
        """Scores by cross-validation over all frames, and a figure."""
        fit, settings = context.fit, context.settings
        of_class, config = type(fit.model), fit.model.config()
        others = {name: of_class.from_config({**config, **more}) for name, more in settings.alternatives.items()}
        models = {_AS_RUN: of_class.from_config(config), **others}
        score = bcg.analysis.score_of(list(models.values()))
        lags = [model.lag for model in models.values() if getattr(model, "lag", None)]
        trained_as = {k: fit.settings[k] for k in ("steps", "batch_size", "validation", "learning_rate", "objective")}
        table = bcg.analysis.compare(
            models, context.frames, score, lag=max(lags, default=None), folds=settings.folds,
            restarts=settings.restarts, seed=context.seed, progress=False, **trained_as,
        )  # fmt: skip
        finding = said_of(table)
        for name in others:
            finding.add(f"score_of_{name.replace(' ', '_')}_above_this_run", table.difference(name, _AS_RUN))
        if _AS_RUN not in table.tied:
            finding.warnings.append(
                f"the data prefer {table.best} to the model of this run, by {-table[_AS_RUN].difference:.2g} ± "
                f"{table[_AS_RUN].difference_se:.2g} ({_WHAT[score].lower()})"
            )
        return finding


def said_of(table: Comparison) -> Finding:
    """A comparison for people: its rows, who is tied, and a figure."""
    finding = Finding(warnings=list(table.warnings))
    columns = ["model", "score", "difference", "verdict"]
    best = table.rows[0]
    weighted = best.stacking is not None and len(table.rows) > 1
    rows: list[tuple[str, ...]] = []
    for row in table.rows:
        apart = "" if row is best else f"{row.difference:+.3g} ± {row.difference_se:.2g}"
        cells = [row.name, f"{row.score:.5g} ± {row.se:.2g}", apart, table.verdict(row.name)]
        rows.append((*cells, *([f"{row.stacking:.2f}", f"{row.pseudo_bma:.2f}"] if weighted else [])))
    columns += ["stacking", "pseudo-BMA+"] if weighted else []
    on = "held-out frames" if table.folds is None else f"{table.folds} folds"
    if table.bounds:
        on = "draws of each"
    at = "" if table.lag is None else f" at lag {table.lag:g}"
    note = f"{_WHAT[table.score]}{at}, on {on}. {_NOTE_OF_BOUNDS if table.bounds else _NOTE}"
    finding.tables[_HEADING] = Table(
        tuple(columns), rows, note, brief=4, hint="tied: the data cannot tell it from the best"
    )
    simplest = "; of these take the simplest" if len(table.tied) > 1 else ""
    finding.remark(_HEADING, f"Best: {table.best}. Not told apart at 95 %: {', '.join(table.tied)}{simplest}.")
    finding.remark(_HEADING, *(f"{name}: {bounds!r}." for name, bounds in table.bounds.items()))
    if table.lone and len(table.rows) > 1:
        finding.remark(_HEADING, "One training of each was scored: what another one would give is in no error.")
    finding.figures["comparison"] = Drawing(
        lambda: bcg.plot.comparison(table),
        "Scores of the models, and differences from the best with 90 % intervals; open circles are blocks of frames. "
        "Blue: not told apart from the best.",
        "; ".join(f"{row.name}: {row.score:.4g}, {row.difference:+.2g} from the best" for row in table.rows),
    )
    return finding
