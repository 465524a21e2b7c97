"""Does the model predict what it has not seen: averages and distributions of observables of frames held out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import bayescg as bcg
from bayescg.errors import ModelError
from bayescg.questions.finding import Drawing, Finding, Table
from bayescg.questions.known import exact_average
from bayescg.questions.question import Context, Question

if TYPE_CHECKING:
    from bayescg.analysis import ObservableCheck, PredictiveCheck, Quantity

__all__ = ["Predictions", "checked", "off_by", "row_of"]

_TOO_FAR = 0.01
_TOO_FEW_COVERED = 0.8
_LARGEST_NOISE = 0.3
_SLIGHT = 0.05
_SLIGHT_SHARE = 0.03
_TABLE = "Predictive check"
_NOTE = (
    "Frames that were held out, against configurations that the model generates: how far off the predicted average "
    "is, also in standard deviations of the observable itself, and how far off the predicted spread. A Bayesian "
    "p-value near 0 or 1 says that more than chance is behind it, which of many frames is soon so; where the model is "
    "right, it has any value in between. The intrinsic sd is what the observable still varies where the collective "
    "variables are known."
)
_COLUMNS = (
    "predictive check", "average off by", "spread off by", "p (average)", "p (spread)", "bins in band", "intrinsic sd",
)  # fmt: skip


class Predictions(Question):
    """Posterior predictive checks (:func:`bayescg.analysis.predictive_check`), and averages of the frames beside."""

    def applies(self, context: Context) -> bool:
        """To models that generate frames, where some frames were held out."""
        named = context.observables or context.settings.torsions
        return bool(named) and context.test is not None and context.fit.model.needs_frames and context.fit.generates

    def ask(self, context: Context) -> Finding:
        """Averages as predicted and of the frames, p-values, histograms."""
        assert context.test is not None
        try:
            check = checked(context, context.fit)
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

        settings, noisy, apart = context.settings, [], []
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
            if not _meet(predicted, of_frames) and abs(off_by(check[name])[1]) > _SLIGHT:
                apart.append(name)
        if apart:
            finding.warnings.append(
                f"the intervals of predicted averages and of the frames' own do not meet: {', '.join(apart)}; an error "
                "of the model's form is in no interval"
            )
        if noisy:
            finding.warnings.append(
                f"averages predicted from {settings.samples} configurations have a Monte Carlo error that is not small "
                f"and in no interval: {', '.join(noisy)}; raise analysis.samples"
            )

    def _judge(self, finding: Finding, check: PredictiveCheck) -> None:
        """Whether frames that were held out look as predicted."""
        rows: list[tuple[str, ...]] = []
        wrong: list[str] = []
        numbers = finding.diagnostics["predictive_check"] = {}
        for observable in check:
            _, in_sd, of_spread = off_by(observable)
            numbers[observable.name] = {
                "average_off_in_sd": in_sd, "spread_off": of_spread,
                "p_mean": observable.p_mean, "p_sd": observable.p_sd, "bins_in_band": observable.coverage,
                "intrinsic_sd": observable.intrinsic_sd, "unit": observable.unit,
            }  # fmt: skip
            rows.append(row_of(observable))
            if what := _wrong(observable, check.level):
                wrong.append(f"{observable.name} ({' and '.join(what)})")
        if wrong:
            finding.warnings.append(
                f"the model does not predict held-out frames: {', '.join(wrong)}; train for longer, or give it more "
                "collective variables or a richer decoder"
            )
        hint = "p near 0 or 1: more than chance is behind what it is off by"
        finding.tables[_TABLE] = Table(_COLUMNS, rows, _NOTE, brief=5, hint=hint)
        finding.in_words.add("predictive_check")


def checked(context: Context, fit: Any) -> PredictiveCheck:
    """The predictive check of a fit, of all observables and torsions, made once.

    Raises
    ------
    ModelError
        It generates no configurations.
    """
    settings, test = context.settings, context.test
    assert test is not None
    names = list(dict.fromkeys([*context.observables, *context.torsions]))
    make = lambda: bcg.analysis.predictive_check(  # noqa: E731
        fit, test, context.functions(names), bins=settings.bins, level=settings.level, samples=settings.samples,
        seed=context.seed,
    )  # fmt: skip
    return context.once(("predictive check", id(fit)), make)


def off_by(check: ObservableCheck) -> tuple[str, float, float]:
    """How far off a predicted average is: in words, and in sd of the observable; and the spread, as a part of it."""
    off = float(check.predicted_mean.mean()) - check.observed_mean
    if check.periodic:
        off = math.remainder(off, 2 * math.pi)
    spread = float(check.predicted_sd.mean()) / check.observed_sd - 1
    in_sd = f"{off / check.observed_sd:+.2f} sd"
    if check.periodic:
        return f"{math.degrees(off):+.1f}°, {in_sd}", off / check.observed_sd, spread
    if abs(check.observed_mean) < check.observed_sd:  # no part of what may as well be zero
        return f"{off:+.2g} {check.unit}".rstrip() + f", {in_sd}", off / check.observed_sd, spread
    return f"{100 * off / check.observed_mean:+.2f} %, {in_sd}", off / check.observed_sd, spread


def row_of(check: ObservableCheck) -> tuple[str, ...]:
    """Name, what average and spread are off by, p-values of both, bins in their bands, and intrinsic sd."""
    words, _, of_spread = off_by(check)
    average, spread = (f"{p:.{3 if min(p, 1 - p) < 0.01 else 2}f}" for p in (check.p_mean, check.p_sd))
    bins = f"{100 * check.coverage:.0f} %" if math.isfinite(check.coverage) else ""
    intrinsic = f"{check.intrinsic_sd:.2g} {check.unit}".rstrip()
    return check.name, words, f"{100 * of_spread:+.1f} %", average, spread, bins, intrinsic


def _wrong(check: ObservableCheck, level: float) -> list[str]:
    """What is off by more than chance, and by more than a twentieth of the observable's own spread."""
    wrong, unit = [], check.unit and f" {check.unit}"
    _, in_sd, of_spread = off_by(check)
    if not check.periodic and abs(in_sd) > _SLIGHT and not _TOO_FAR < check.p_mean < 1 - _TOO_FAR:
        wrong.append(f"average {check.predicted_mean.mean():.3g} for {check.observed_mean:.3g}{unit}")
    if not check.periodic and abs(of_spread) > _SLIGHT and not _TOO_FAR < check.p_sd < 1 - _TOO_FAR:
        wrong.append(f"spread {check.predicted_sd.mean():.3g} for {check.observed_sd:.3g}{unit}")
    misplaced = 0.5 * float(abs(check.predicted.mean(0) - check.observed).sum())
    if check.coverage < _TOO_FEW_COVERED and misplaced > _SLIGHT_SHARE:
        bands = f"{check.coverage:.0%} of its bins in their {level:.0%} bands"
        wrong.append(f"{bands}, {misplaced:.0%} of the frames in others than predicted")
    return wrong


def _meet(a: Quantity, b: Quantity) -> bool:
    """Whether two intervals meet, or one of them is not known."""
    return not (a.ci90 and b.ci90) or (a.ci90[0] <= b.ci90[1] and b.ci90[0] <= a.ci90[1])
