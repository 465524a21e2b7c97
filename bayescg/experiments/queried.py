"""What a run asks of a fit that learned from energies: free energies of its own reweighted draws, and an audit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bayescg.analysis import Quantity, audit, free_energy, statistics
from bayescg.experiments.compared import compare_with_reference
from bayescg.experiments.modes import modes_found
from bayescg.experiments.questions import Answers, average, internal
from bayescg.inference.model import HasCV
from bayescg.sampling import equilibrium

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit

__all__ = ["ask_without_frames", "is_coordinate"]

_EXACT = 20_000
"""Independent draws of a system that an audit compares with."""


@dataclass(frozen=True)
class Coordinate:
    """A flat coordinate of a configuration by name: x1, x2, ..."""

    name: str

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, int(self.name[1:]) - 1]


def is_coordinate(name: str) -> bool:
    """Whether an observable is a coordinate of a system without a topology.

    Examples
    --------
    >>> is_coordinate("x1"), is_coordinate("rg")
    (True, False)
    """
    return re.fullmatch(r"x[1-9]\d*", name) is not None


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
    answers = Answers()
    common: dict[str, Any] = {"draws": settings.draws, "level": settings.level, "seed": seed}
    for name in settings.observables:
        (observable,) = _observables([name], fit, frames)
        values = statistics.evaluate(observable, frames)
        answers.add(name, average(values, frames, settings.draws, seed, statistics.unit_of(observable)))
    profiled = [n for n in settings.observables if not is_coordinate(n)] + settings.torsions
    for name in dict.fromkeys([*profiled, *(o for region in settings.regions.values() for o in region)]):
        answers.landscapes[name] = free_energy(fit, frames, cv=_observables([name], fit, frames)[0], **common)
    for name, region in settings.regions.items():
        ((observable, bounds),) = region.items()
        landscape = answers.landscapes[observable]
        answers.add(f"population_{name}", landscape.population(internal(bounds, landscape)))
    for a, b in settings.differences:
        (observable,) = settings.regions[a]
        landscape = answers.landscapes[observable]
        start, end = (internal(settings.regions[r][observable], landscape) for r in (a, b))
        name = "free_energy_difference" if len(settings.differences) == 1 else f"free_energy_{a}_to_{b}"
        difference = landscape.difference(start, end)
        answers.add(name, difference)
        if difference.warning:
            answers.warnings.append(f"free energy from {a} to {b}: {difference.warning}")
    if len(settings.torsions) == 2:
        answers.landscapes["torsions"] = free_energy(fit, frames, cv=settings.torsions, bins=60, **common)
    if isinstance(fit.model, HasCV) and fit.cv(frames.gather([0])).event_shape[0] <= 2:
        answers.landscapes["cv"] = free_energy(fit, frames, bins=60, **common)
    if settings.audit:
        system: Any = getattr(fit.model, "system", None)
        exact = equilibrium(system, _EXACT, seed=seed) if settings.audit == "exact" else None
        found = audit(fit, exact, seed=seed)
        told = found.to_dict()
        told["audit_energy_evaluations"] = told.pop("energy_evaluations")
        answers.diagnostics |= told
        answers.warnings += found.warnings
        answers.add("log_z", _normal(found.log_z, found.log_z_sd, settings.draws, seed))
    if (centres := getattr(getattr(fit.model, "system", None), "means", None)) is not None:
        answers.diagnostics["modes"] = modes_found(frames, centres)
    for landscape in answers.landscapes.values():
        answers.warnings += [w for w in landscape.warnings if w not in answers.warnings]
    if settings.reference is not None:
        compare_with_reference(experiment, fit, frames, answers)
    for name, value in settings.truth.items():
        if name in answers.quantities:
            answers.quantities[name]["truth"] = value
    return answers


def _observables(names: list[str], fit: Fit, frames: Frames) -> list[Any]:
    chosen = [Coordinate(n) if is_coordinate(n) else n for n in names]
    return statistics.named_observables(chosen, fit, frames)


def _normal(mean: float, sd: float, draws: int, seed: int) -> Quantity:
    noise = np.random.default_rng(seed).standard_normal(draws)
    return Quantity.of(mean + sd * noise, "nat", sd_by_source={"sampling": sd})
