"""What measurements say of the ensemble: populations that simulation and experiment agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

import bayescg as bcg
from bayescg.analysis.evaluation import evaluate, wrap
from bayescg.errors import ConfigError
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.questions.sections import Names, Range, Section

if TYPE_CHECKING:
    from bayescg.modelling import Model

__all__ = ["MeasuredAverages"]

_COUPLINGS = {f"3J({kind})": kind for kind in bcg.features.KARPLUS}


class MeasuredAverages(Question):
    """Simulation and measured couplings together."""

    class Settings(Section):
        """Scalar couplings, each with its standard deviation in Hz, and what they are compared by.

        ``[analysis.measured] "3J(HN,HA) ALA-2" = [6.0, 0.1]``. The force field may be wrong along the torsions of
        `measured_along` (one or two; none: those of ``torsions``); `karplus` names the parameters of the couplings
        (:data:`bayescg.features.KARPLUS`; couplings that this author has none of have those of bax2007).
        """

        measured: dict[str, Range] = Field(default={})
        measured_along: Annotated[Names, Field(max_length=2)] = Field(default=[])
        karplus: str = "bax2007"

    def check(self, experiment: Any, model: type[Model]) -> None:
        """Refuse what are no couplings."""
        for name in experiment.analysis.measured:
            if name.partition(" ")[0] not in _COUPLINGS:
                raise ConfigError(
                    f"analysis.measured: {name!r} is no coupling that is known here; there are "
                    f"{', '.join(_COUPLINGS)}, with a residue where there are several (3J(HN,HA) ALA-2). For NOEs, "
                    "relaxation and your own numbers use bcg.analysis.experiments in a script"
                )

        authors = dict.fromkeys(author for sets in bcg.features.KARPLUS.values() for author in sets)
        if experiment.analysis.karplus not in authors:
            raise ConfigError(
                f"analysis.karplus = {experiment.analysis.karplus!r}: there are {', '.join(map(repr, authors))}"
            )

    def applies(self, context: Context) -> bool:
        """Where something is measured."""
        return bool(context.settings.measured)

    def ask(self, context: Context) -> Finding:
        """Populations by both, each datum before and after, and the force field's error."""
        settings, topology = context.settings, context.frames.topology
        kinds = dict.fromkeys(_COUPLINGS[name.partition(" ")[0]] for name in settings.measured)
        authors = {
            kind: settings.karplus if settings.karplus in bcg.features.KARPLUS[kind] else "bax2007" for kind in kinds
        }
        forward = [bcg.features.karplus(topology, kind, author) for kind, author in authors.items()]
        along = context.functions(settings.measured_along or context.torsions[:2])
        data = {name: (value, sd) for name, (value, sd) in settings.measured.items()}
        ensemble = bcg.analysis.experiments(
            context.frames, data, forward, along, draws=settings.draws, seed=context.seed
        )
        finding = Finding(sources="sampling: the simulation's frames; parameter: what the force field gets wrong")
        for name, region in settings.regions.items():
            ((observable, bounds),) = region.items()
            (function,) = context.functions([observable])
            inside = _inside(evaluate(function, context.frames), bounds)
            finding.add(f"measured_population_{name}", ensemble.average_of(inside.astype(float)))
        finding.diagnostics["measured_effective_fraction"] = ensemble.effective
        finding.warnings += [f"measured averages: {text}" for text in ensemble.warnings]
        finding.tables["Measured averages"] = Table(
            ("", "measured (Hz)", "simulated", "with the measurements", "effective frames"),
            [
                (
                    d.name, f"{d.value:.3g} ± {d.sd:.2g}", f"{d.simulated.mean:.3g} ± {d.simulated.sd:.2g}",
                    f"{d.predicted.mean:.3g} ± {d.predicted.sd:.2g}", f"{d.frames:.0f}",
                )
                for d in ensemble.data
            ],
            "With the measurements: once the force field's error is accounted for. The forward model's own error is "
            "unknown, too.",
        )  # fmt: skip
        finding.datasets["measured_averages"] = ensemble.error.to_dataset()
        finding.figures["measured_averages"] = Drawing(
            lambda: bcg.plot.measured_averages(ensemble, settings.level),
            "Left: how far simulation and ensemble are from each measurement. Right: what the force field's free "
            "energy is off by, its mean over the frames taken off.",
            "Measured averages beside the simulation's and the ensemble's, and the force field's error",
        )
        return finding


def _inside(angle: np.ndarray, bounds: list[float]) -> np.ndarray:
    """Whether angles (rad) lie in an interval of degrees, which may wrap around."""
    degrees, (low, high) = np.rad2deg(wrap(angle)), bounds
    return (degrees >= low) & (degrees < high) if low < high else (degrees >= low) | (degrees < high)
