"""What a generator that was trained at a range of temperatures says of several of them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.question import Context, Question
from bayescg.questions.samples import TRUST, percent
from bayescg.questions.sections import Section

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.modelling import Model

__all__ = ["OtherTemperatures"]

_FEWEST = 10
_POOR = 0.05
"""Effective fraction of the draws of a temperature below which the answers at it are rough."""


class OtherTemperatures(Question):
    """Populations and the heat capacity at temperatures beside the system's own, from draws at all of the range."""

    class Settings(Section):
        """Temperatures within the range of the model, K, of toys kT."""

        temperatures: list[float] | None = None

    def check(self, experiment: Any, model: type[Model]) -> None:
        """Refuse temperatures that the model is not trained at.

        Raises
        ------
        ConfigError
        """
        asked_for = experiment.analysis.temperatures
        span = experiment.model.arguments.get("temperatures")
        if asked_for and (span is None or not all(span[0] <= t <= span[-1] for t in asked_for)):
            trained = "no range of temperatures" if span is None else f"temperatures = {span}"
            raise ConfigError(f"analysis.temperatures = {asked_for}: the model is trained at {trained}")

    def applies(self, context: Context) -> bool:
        """Where temperatures are named, to weighted draws."""
        return context.weighted and bool(context.settings.temperatures)

    def ask(self, context: Context) -> Finding:
        """Populations of all regions and the heat capacity of every temperature, and the fraction of draws that count.

        Where a reference of the molecule at a temperature is shipped, its populations stand beside.
        """
        finding = Finding(truth_is="reference")
        coldest = context.frames.temperature or context.frames.kT
        unit = " kT" if context.frames.temperature is None else " K"
        rows, counted = [], {}
        for temperature in sorted(context.settings.temperatures):
            frames = context.frames
            if abs(temperature / coldest - 1) > 1e-6:
                samples = context.settings.samples
                frames = bcg.analysis.reweighted(context.fit, samples, context.seed, temperature=temperature)
            label = f"{temperature:g}{unit}"
            answers = self._answers(context, frames)
            for name, quantity in answers.items():
                finding.add(f"{name}_{label.replace(' ', '')}", quantity, _known(context, name, temperature))
            counted[label] = float(sum(frames.provenance["ess_fraction"]) / len(frames.provenance["ess_fraction"]))
            rows.append((label, percent(counted[label]), *(_short(quantity) for quantity in answers.values())))
        columns = (
            "temperature",
            "effective",
            *(name.removeprefix("population_").replace("_", " ") for name in answers),
        )
        finding.tables["At other temperatures"] = Table(
            columns,
            rows,
            note="The fraction of draws that count; means with standard deviations: the heat capacity is that of the "
            "configurations, in kJ/mol/K or k, the others are populations.",
            brief=4,
            hint="of the draws, how many count; heat capacity of the configurations; populations",
        )
        finding.diagnostics["ess_fraction_by_temperature"] = counted
        finding.in_words.add("ess_fraction_by_temperature")
        poor = [label for label, share in counted.items() if share < _POOR]
        if poor:
            finding.warnings.append(
                f"at {', '.join(poor)} fewer than {percent(_POOR)} of the draws count: give the fit more steps, or a "
                "narrower range of temperatures"
            )
        finding.remark(TRUST, "What the generator leaves out was looked for at the system's own temperature only.")
        finding.figures["temperatures"] = Drawing(
            lambda: bcg.plot.temperatures(finding.quantities, finding.truth),
            "Populations and the configurational heat capacity by temperature, from one fit, with 90 % intervals; "
            "crosses are references by parallel tempering.",
        )
        return finding

    def _answers(self, context: Context, frames: Frames) -> dict[str, bcg.analysis.Quantity]:
        """Populations by name, and the heat capacity."""
        settings, answers, landscapes = context.settings, {}, {}
        for name, region in settings.regions.items():
            ((observable, bounds),) = region.items()
            if observable not in landscapes:
                cv = context.functions([observable])
                landscapes[observable] = bcg.analysis.free_energy(
                    None, frames, cv=cv, draws=settings.draws, level=settings.level, seed=context.seed
                )
            landscape = landscapes[observable]
            ends = landscape.from_degrees(bounds)
            population = landscape.population(ends)
            if not population.warning and (beside := landscape.effective_outside(ends)) < _FEWEST:
                few = f"only {beside:.1f} effective draws lie elsewhere, fewer than {_FEWEST}"
                population = replace(population, ci90=None, warning=f"{few}: how much less it holds is not known")
            answers[f"population_{name}"] = population
        system = context.fit.model.system.cartesian.unguarded
        return {"heat_capacity": bcg.analysis.heat_capacity(frames, system, settings.draws, context.seed)} | answers


def _known(context: Context, name: str, temperature: float) -> float | None:
    """A population of the shipped reference at a temperature."""
    from bayescg.questions.references import load_reference, reference_names

    reference = re.sub(r"-[\d.]+K$", f"-{temperature:g}K", context.settings.reference or "")
    region = name.removeprefix("population_")
    if reference not in reference_names() or context.frames.temperature is None:
        return None
    shipped = load_reference(reference)
    same = shipped.regions.get(region) == context.settings.regions.get(region)
    return shipped.populations[region][0] if region in shipped.populations and same else None


def _short(quantity: bcg.analysis.Quantity) -> str:
    return f"{quantity.mean:.3g} ± {quantity.sd:.1g}"
