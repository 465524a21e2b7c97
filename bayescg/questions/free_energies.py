"""What a run asks of a fit that learned from energies: free energies of its own reweighted draws, and an audit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.analysis import audit, free_energy
from bayescg.analysis.block_bootstrap import average
from bayescg.analysis.evaluation import evaluate, named_observables, unit_of
from bayescg.analysis.free_energy.estimate import UNAUDITED
from bayescg.analysis.free_energy.refits import apart_in_log_z, log_partition
from bayescg.analysis.free_energy.sparse import remedy
from bayescg.modelling.model import HasCV
from bayescg.questions.known import Coordinate, difference_name, is_coordinate, note_truth
from bayescg.questions.mixture_modes import modes_found
from bayescg.questions.predictions import Answers
from bayescg.questions.reference import compare_with_reference
from bayescg.sampling import equilibrium
from bayescg.systems import GaussianMixture

if TYPE_CHECKING:
    from bayescg.analysis import FreeEnergy
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit

__all__ = ["ask_without_frames", "judge_number"]

_REMEDY = "raise analysis.samples, or train for longer"
_FEWEST, _SOME = 10, 100
_TAILS = 15.0
"""From here on up, in kT, a free energy without an error bar is in no one's way."""
_EXACT = 20_000
"""Independent draws of a system that an audit compares with."""


def ask_without_frames(experiment: Experiment, fit: Fit, frames: Frames) -> Answers:
    """All questions of an experiment whose model queries a system.

    Parameters
    ----------
    experiment : Experiment
    fit : Fit
    frames : Frames
        Its reweighted draws.
    """
    settings, seed = experiment.analysis, experiment.run.seed
    system: Any = getattr(fit.model, "system", None)
    answers = Answers()
    common: dict[str, Any] = {"draws": settings.draws, "level": settings.level, "seed": seed}
    exact = equilibrium(system, _EXACT, seed=seed) if settings.audit == "exact" else None
    audited = audit(fit, exact, seed=seed) if settings.audit else None  # first: free energies repeat what it found
    for name in settings.observables:
        (observable,) = _observables([name], fit, frames)
        values = evaluate(observable, frames)
        answers.add(name, average(values, frames, settings.draws, seed, unit_of(observable)))
    profiled = [n for n in settings.observables if not is_coordinate(n)] + settings.torsions
    for name in dict.fromkeys([*profiled, *(o for region in settings.regions.values() for o in region)]):
        answers.landscapes[name] = free_energy(fit, frames, cv=_observables([name], fit, frames)[0], **common)
    for name, region in settings.regions.items():
        ((observable, bounds),) = region.items()
        landscape = answers.landscapes[observable]
        population = landscape.population(landscape.from_degrees(bounds))
        if not population.warning and (beside := landscape.effective_outside(landscape.from_degrees(bounds))) < _FEWEST:
            told = f"only {beside:.1f} effective draws lie elsewhere, fewer than {_FEWEST}"
            population = replace(population, ci90=None, warning=f"{told}: how much less it holds is not known")
        answers.add(f"population_{name}", population)
        if population.warning:
            answers.warnings.append(f"population of {name}: {population.warning}")
    for a, b in settings.differences:
        (observable,) = settings.regions[a]
        landscape = answers.landscapes[observable]
        start, end = (landscape.from_degrees(settings.regions[r][observable]) for r in (a, b))
        answers.add(difference_name(settings, a, b), landscape.difference(start, end))
    if len(settings.torsions) == 2:
        answers.landscapes["torsions"] = free_energy(fit, frames, cv=settings.torsions, bins=60, **common)
    if isinstance(fit.model, HasCV) and fit.cv(frames.gather([0])).event_shape[0] <= 2:
        answers.landscapes["cv"] = free_energy(fit, frames, bins=60, **common)
    plane = [n for n in settings.observables if is_coordinate(n)]
    if len(plane) == 2:
        answers.landscapes["plane"] = free_energy(fit, frames, cv=_observables(plane, fit, frames), **common)
    answers.diagnostics |= {"weighted_draws": len(frames), "pareto_k": frames.provenance["pareto_k"]}
    answers.diagnostics |= {"ess_fraction": float(np.mean(frames.provenance["ess_fraction"]))}
    answers.add("log_z", log_partition(frames, settings.draws, seed))
    answers.warnings += [told] if (told := apart_in_log_z(frames)) else []
    if audited is not None:
        found = audited.to_dict()
        if exact is not None:
            found["reference"] = "independent draws of the system itself"
        found["audit_energy_evaluations"] = found.pop("energy_evaluations")
        answers.diagnostics |= found
        answers.warnings += audited.warnings
    if isinstance(system, GaussianMixture):
        answers.diagnostics["modes"] = modes_found(frames, system)
    for landscape in answers.landscapes.values():
        answers.warnings += [w for w in _of_note(landscape) if w not in answers.warnings]
    if settings.reference is not None:
        compare_with_reference(experiment, fit, frames, answers)
    note_truth(settings, answers, system)
    judge_number(answers, len(frames))
    answers.warnings = [w.replace(remedy(frames), _REMEDY) for w in answers.warnings]
    return answers


def _of_note(landscape: FreeEnergy) -> list[str]:
    """A landscape's warnings, without that of bins that have no band where these are all far up in its tails.

    That no audit was made, a run says in words of its own.
    """
    within = (landscape.untold & (landscape.mean.values < _TAILS)).any()
    return [w for w in landscape.warnings if w != UNAUDITED and (within or not w.startswith("no band for"))]


def judge_number(answers: Answers, count: int) -> None:
    """Take the intervals away where next to no draws count: the bootstrap knows only of weights that were drawn.

    Parameters
    ----------
    answers : Answers
        With ``ess_fraction`` and ``pareto_k`` among the diagnostics. Weights of a Pareto k above 1 need have no mean.
    count : int
        Draws.
    """
    effective, k = count * answers.diagnostics["ess_fraction"], answers.diagnostics["pareto_k"]
    if effective >= _SOME and k <= 1:
        return
    told = f"only {effective:.0f} of {count} draws count{f', and Pareto k is {k:.2f}, above 1' if k > 1 else ''}: "
    if effective < _FEWEST or k > 1:
        for quantity in answers.quantities.values():
            quantity |= {"sd": None, "ci90": None, "sd_by_source": dict.fromkeys(quantity["sd_by_source"])}
        told += "averages say next to nothing, and have no interval"
    else:
        told += "intervals are rough"
    answers.warnings.append(f"{told}; train for longer, or raise analysis.samples")


def _observables(names: list[str], fit: Fit, frames: Frames) -> list[Any]:
    chosen = [Coordinate(n) if is_coordinate(n) else n for n in names]
    return named_observables(chosen, fit, frames)
