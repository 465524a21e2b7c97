"""What a run asks of its frames and its fit: predictions, populations, free energies, quality of the fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.analysis import (
    FreeEnergy,
    PredictiveCheck,
    Quantity,
    SlowModes,
    free_energy,
    predictive_check,
)
from bayescg.analysis.block_bootstrap import average
from bayescg.analysis.evaluation import evaluate, label, named_observables, unit_of
from bayescg.errors import ModelError
from bayescg.modelling.model import HasCV
from bayescg.questions.known import note_truth

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.schema import Analysis, Experiment
    from bayescg.inference import Fit

__all__ = ["Answers", "ask"]

_KEYS = ("unit", "mean", "sd", "ci90", "truth", "sd_by_source")
_TOO_FAR = 0.01
_TOO_FEW_COVERED = 0.8
_MOST_POOR = 0.1
_LARGEST_NOISE = 0.3


@dataclass
class Answers:
    """What was found.

    Attributes
    ----------
    quantities : dict
        Name to JSON: unit, mean, sd, ci90, truth, sd_by_source.
    diagnostics : dict
        Pareto k and effective fraction of the guide, effective frames, p-values of the predictive check.
    warnings : list of str
    check : PredictiveCheck or None
    landscapes : dict of str to FreeEnergy
    known : dict of str to (edges, shares)
        Histograms of a reference, of some of the landscapes.
    modes : SlowModes or None
    rates : list of float
        Their exact eigenvalues, where these are known.
    """

    quantities: dict[str, Any] = field(default_factory=dict)
    diagnostics: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    check: PredictiveCheck | None = None
    landscapes: dict[str, FreeEnergy] = field(default_factory=dict)
    known: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    modes: SlowModes | None = None
    rates: list[float] = field(default_factory=list)

    def add(self, name: str, quantity: Quantity) -> None:
        """Note a quantity."""
        found = {**quantity.to_dict(), "truth": None}
        self.quantities[name] = {key: _finite(found[key]) for key in _KEYS}


def ask(experiment: Experiment, fit: Fit, frames: Frames, test: Frames) -> Answers:
    """All questions of an experiment.

    Parameters
    ----------
    experiment : Experiment
    fit : Fit
    frames : Frames
        All of them: free energies are theirs.
    test : Frames
        Those that the fit has not seen: predictions are checked against them.
    """
    settings, seed = experiment.analysis, experiment.run.seed
    answers = Answers()
    evidence = fit.model.kind == "evidence"
    if fit.generates and (settings.observables or settings.torsions):
        try:
            _predictions(answers, settings, seed, fit, frames, test)
        except ModelError as error:
            answers.warnings.append(f"predictions were not checked: {error}")
    _free_energies(answers, settings, seed, fit, frames)
    if evidence:
        _quality(answers, settings, seed, fit, test)
    if answers.check is not None:
        _checks(answers, answers.check)
    answers.diagnostics |= {
        "effective_frames": fit.diagnostics["effective_frames"],
        "statistical_inefficiency": fit.diagnostics["statistical_inefficiency"],
    }
    note_truth(settings, answers)
    return answers


def _predictions(answers: Answers, settings: Analysis, seed: int, fit: Fit, frames: Frames, test: Frames) -> None:
    wanted = [*settings.observables, *settings.torsions]
    check = answers.check = predictive_check(
        fit, test, wanted, bins=settings.bins, level=settings.level, samples=settings.samples, seed=seed
    )
    noisy = []
    for function in named_observables(settings.observables, fit, frames):
        name = label(function)
        values = evaluate(function, frames)
        predicted = check[name].average
        if predicted.warning and predicted.warning not in answers.warnings:
            answers.warnings.append(predicted.warning)
        noise = check[name].predicted_sd.mean() / math.sqrt(settings.samples)
        if noise > _LARGEST_NOISE * predicted.sd > 0:
            noisy.append(f"{name} ({noise:.2g} {predicted.unit})")
        answers.add(name, predicted)
        seen = average(values, frames, settings.draws, seed, unit_of(function))
        answers.add(f"{name}_of_frames", seen)
        if (
            predicted.ci90
            and seen.ci90
            and not (predicted.ci90[0] <= seen.ci90[1] and seen.ci90[0] <= predicted.ci90[1])
        ):
            answers.warnings.append(
                f"{name}: the intervals of the predicted average and of the frames' own do not meet; an "
                "error of the model's form is in no interval"
            )
    if noisy:
        answers.warnings.append(
            f"averages predicted from {settings.samples} configurations have a Monte Carlo error that is not small and "
            f"in no interval: {', '.join(noisy)}; raise analysis.samples"
        )


def _checks(answers: Answers, check: PredictiveCheck) -> None:
    """Whether frames that were held out look as predicted."""
    told = answers.diagnostics["predictive_check"] = {}
    for one in check:
        told[one.name] = {
            "p_mean": one.p_mean, "p_sd": one.p_sd, "bins_in_band": _finite(one.coverage),
            "intrinsic_sd": one.intrinsic_sd, "unit": one.unit,
        }  # fmt: skip
        wrong = []
        if not one.periodic and not _TOO_FAR < one.p_mean < 1 - _TOO_FAR:
            wrong.append(f"average ({one.predicted_mean.mean():.3g} for {one.observed_mean:.3g} {one.unit})")
        if not one.periodic and not _TOO_FAR < one.p_sd < 1 - _TOO_FAR:
            wrong.append(f"spread ({one.predicted_sd.mean():.3g} for {one.observed_sd:.3g} {one.unit})")
        if one.coverage < _TOO_FEW_COVERED:
            wrong.append(f"histogram ({one.coverage:.0%} of its bins lie in their {check.level:.0%} bands)")
        if wrong:
            what = " and the ".join(wrong)
            answers.warnings.append(f"{one.name}: the model does not predict the {what} of held-out frames")


def _free_energies(answers: Answers, settings: Analysis, seed: int, fit: Fit, frames: Frames) -> None:
    common: dict[str, Any] = {"draws": settings.draws, "level": settings.level, "seed": seed}
    along = {o: free_energy(fit, frames, cv=o, **common) for o in {o: 0 for r in settings.regions.values() for o in r}}
    for name, region in settings.regions.items():
        ((observable, bounds),) = region.items()
        population = along[observable].population(along[observable].from_degrees(bounds))
        answers.add(f"population_{name}", population)
        if population.warning:
            answers.warnings.append(f"population of {name}: {observable} {population.warning}")
    for a, b in settings.differences:
        (observable,) = settings.regions[a]
        start, end = (along[observable].from_degrees(settings.regions[r][observable]) for r in (a, b))
        answers.add(f"free_energy_{a}_to_{b}", along[observable].difference(start, end))
    answers.landscapes = along
    if 1 <= len(settings.torsions) <= 2:
        answers.landscapes["torsions"] = free_energy(fit, frames, cv=settings.torsions, bins=60, **common)
    if isinstance(fit.model, HasCV) and fit.cv(frames.gather([0])).event_shape[0] <= 2:
        answers.landscapes["cv"] = free_energy(fit, frames, bins=60, **common)
    for landscape in answers.landscapes.values():
        answers.warnings += [f"free energy over {', '.join(landscape.names)}: {w}" for w in landscape.warnings]


def _quality(answers: Answers, settings: Analysis, seed: int, fit: Fit, test: Frames) -> None:
    """How well frames that were held out are described, and how good the guide is."""
    few = test.subset(np.unique(np.linspace(0, len(test) - 1, min(len(test), 1000)).astype(int)))
    density = fit.log_density(few, fit.weights.members, seed=seed).double().cpu().numpy()
    seen = average(density.mean(0), few, settings.draws, seed, "nat")
    draws, sources = seen.draws, seen.sd_by_source
    if len(density) > 1:
        refits = density.mean(1)
        draws = seen.mean + np.add.outer(_deviations(draws), _deviations(refits)).ravel()
        sources = {**sources, "parameter": float(refits.std(ddof=1))}
    answers.add("held_out_log_density", Quantity.of(draws, "nat/frame", sd_by_source=sources))
    quality = fit.guide_quality(few.subset(slice(None, None, max(1, len(few) // 200))), seed=seed)
    answers.diagnostics |= {name: _finite(value) for name, value in quality.items()}
    poor = quality["pareto_k_share_above_0.7"]
    if poor > _MOST_POOR:
        answers.warnings.append(
            f"the guide is a poor approximation of p(z | x) for {poor:.0%} of the held-out frames (Pareto k above 0.7, "
            f"largest {quality['pareto_k_largest']:.2f}): their log densities are rough lower bounds"
        )


def _deviations(draws: np.ndarray) -> np.ndarray:
    """From the mean, widened as the draws' own mean is nearer to them than the true one."""
    return (draws - draws.mean()) * np.sqrt(len(draws) / (len(draws) - 1))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
