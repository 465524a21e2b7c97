"""Does the model predict what it has not seen: averages and distributions of observables of frames held out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import bayescg as bcg
from bayescg.errors import ModelError
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.known import exact_average
from bayescg.questions.question import Context, Question

if TYPE_CHECKING:
    from bayescg.analysis import ObservableCheck, PredictiveCheck, Quantity

__all__ = ["Predictions"]

_TOO_FAR = 0.01
_TOO_FEW_COVERED = 0.8
_LARGEST_NOISE = 0.3
_TABLE = "Predictive check"
_NOTE = (
    "Frames that were held out, against configurations that the model generates. A Bayesian p-value near 0 or 1 says "
    "that the model gets this average, or this spread, wrong; a right model has any value in between. The intrinsic sd "
    "is what the observable still varies where the collective variables are known."
)
_COLUMNS = ("predictive check", "p (average)", "p (spread)", "bins in band", "intrinsic sd")


class Predictions(Question):
    """Posterior predictive checks (:func:`bayescg.analysis.predictive_check`), and averages of the frames beside."""

    def applies(self, context: Context) -> bool:
        """To models that generate frames, where some frames were held out."""
        named = context.observables or context.settings.torsions
        return bool(named) and context.test is not None and context.fit.model.needs_frames and context.fit.generates

    def ask(self, context: Context) -> Finding:
        """Averages as predicted and of the frames, p-values, histograms."""
        assert context.test is not None
        settings, names = context.settings, context.observables
        wanted = context.functions(list(dict.fromkeys([*names, *context.torsions])))
        try:
            check = bcg.analysis.predictive_check(
                context.fit, context.test, wanted, bins=settings.bins, level=settings.level,
                samples=settings.samples, seed=context.seed,
            )  # fmt: skip
        except ModelError as error:
            return Finding(warnings=[f"predictions were not checked: {error}"])
        finding = Finding()
        self._averages(finding, context, check)
        self._judge(finding, check)
        finding.figures["predictive_check"] = Drawing(
            lambda: bcg.plot.predictive_check(check),
            "Observables of frames that were held out, and as the model predicts them. The dark band is the "
            "uncertainty of the parameters, the light one adds the error of as many frames.",
        )
        for of, pair in context.planes.items():
            if pair[0].startswith("phi") and pair[1].startswith("psi"):
                finding.figures[f"ramachandran{of}"] = Drawing(
                    lambda pair=pair: bcg.plot.ramachandran(context.fit, context.frames, torsions=pair),
                    f"Backbone torsions{of} of the frames and of the model.",
                )
        return finding

    def _averages(self, finding: Finding, context: Context, check: PredictiveCheck) -> None:
        from bayescg.analysis.evaluation import evaluate, label, unit_of
        from bayescg.analysis.resampled import average

        settings, noisy = context.settings, []
        for function in context.functions(context.observables):
            name = label(function)
            predicted = check[name].average
            if predicted.warning and predicted.warning not in finding.warnings:
                finding.warnings.append(predicted.warning)
            noise = check[name].predicted_sd.mean() / math.sqrt(settings.samples)
            if noise > _LARGEST_NOISE * predicted.sd > 0:
                noisy.append(f"{name} ({noise:.2g} {predicted.unit})")
            values = evaluate(function, context.frames)
            of_frames = average(values, context.frames, settings.draws, context.seed, unit_of(function))
            exact = exact_average(context.system, function)
            finding.add(name, predicted, exact)
            finding.add(f"{name}_of_frames", of_frames, exact)
            if not _meet(predicted, of_frames):
                finding.warnings.append(
                    f"{name}: the intervals of the predicted average and of the frames' own do not meet; an "
                    "error of the model's form is in no interval"
                )
        if noisy:
            finding.warnings.append(
                f"averages predicted from {settings.samples} configurations have a Monte Carlo error that is not small "
                f"and in no interval: {', '.join(noisy)}; raise analysis.samples"
            )

    def _judge(self, finding: Finding, check: PredictiveCheck) -> None:
        """Whether frames that were held out look as predicted."""
        rows: list[tuple[str, ...]] = []
        numbers = finding.diagnostics["predictive_check"] = {}
        for observable in check:
            numbers[observable.name] = {
                "p_mean": observable.p_mean, "p_sd": observable.p_sd, "bins_in_band": observable.coverage,
                "intrinsic_sd": observable.intrinsic_sd, "unit": observable.unit,
            }  # fmt: skip
            rows.append(_row(observable))
            if wrong := _wrong(observable, check.level):
                what = " and the ".join(wrong)
                finding.warnings.append(f"{observable.name}: the model does not predict the {what} of held-out frames")
        hint = "p near 0 or 1: the model gets this average, or spread, of held-out frames wrong"
        finding.tables[_TABLE] = Table(_COLUMNS, rows, _NOTE, brief=4, hint=hint)
        finding.in_words.add("predictive_check")


def _row(check: ObservableCheck) -> tuple[str, ...]:
    """Name, p-values of average and spread, bins in their bands, and intrinsic sd."""
    average, spread = (f"{p:.{3 if min(p, 1 - p) < 0.01 else 2}f}" for p in (check.p_mean, check.p_sd))
    bins = f"{100 * check.coverage:.0f} %" if math.isfinite(check.coverage) else ""
    return check.name, average, spread, bins, f"{check.intrinsic_sd:.2g} {check.unit}".rstrip()


def _wrong(check: ObservableCheck, level: float) -> list[str]:
    wrong, unit = [], check.unit and f" {check.unit}"
    if not check.periodic and not _TOO_FAR < check.p_mean < 1 - _TOO_FAR:
        wrong.append(f"average ({check.predicted_mean.mean():.3g} for {check.observed_mean:.3g}{unit})")
    if not check.periodic and not _TOO_FAR < check.p_sd < 1 - _TOO_FAR:
        wrong.append(f"spread ({check.predicted_sd.mean():.3g} for {check.observed_sd:.3g}{unit})")
    if check.coverage < _TOO_FEW_COVERED:
        wrong.append(f"histogram ({check.coverage:.0%} of its bins lie in their {level:.0%} bands)")
    return wrong


def _meet(a: Quantity, b: Quantity) -> bool:
    """Whether two intervals meet, or one of them is not known."""
    return not (a.ci90 and b.ci90) or (a.ci90[0] <= b.ci90[1] and b.ci90[0] <= a.ci90[1])
