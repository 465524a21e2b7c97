"""What a fit without frames predicts of a molecule, held to a reference."""

from __future__ import annotations

import ast
import inspect
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg import systems
from bayescg.analysis.block_bootstrap import average
from bayescg.analysis.evaluation import evaluate, named_observables
from bayescg.errors import ConfigError
from bayescg.questions.known import difference_name
from bayescg.questions.predictions import Answers
from bayescg.questions.references import load_reference, reference_names

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit
    from bayescg.questions.references import Reference

__all__ = ["check_reference", "compare_with_reference"]

_REMEDY = "analysis.reference=none, which compares with nothing"
_OBSERVABLES = ("rg", "rg_mass", "end_to_end")


def check_reference(experiment: Experiment) -> None:
    """Refuse a reference that does not exist or is of another system, before anything is computed.

    Raises
    ------
    ConfigError
    """
    name = experiment.analysis.reference
    if name is None or experiment.system is None:
        return
    if name not in reference_names():
        known = ", ".join(reference_names())
        raise ConfigError(f'analysis.reference = "{name}": there is none; shipped are {known}')
    made = load_reference(name).made["system"]
    molecule, theirs = _called(made)
    if experiment.system.name != molecule:
        raise ConfigError(f"the reference {name} is of {made}, not of {experiment.system.name}: {_REMEDY}")
    parameters = inspect.signature(getattr(systems, molecule)).parameters
    ours = {key: experiment.system.arguments.get(key, parameters[key].default) for key in theirs}
    others = [key for key in theirs if ours[key] != theirs[key]]
    if others:
        told = ", ".join(f"{key} = {ours[key] or 'none'}" for key in others)
        wanted = ", ".join(f"system.{key}={theirs[key] or 'none'}" for key in others)
        raise ConfigError(
            f"the reference {name} is of {made}; with {told} the system is another, and nothing of the two compares: "
            f"set {wanted}, or {_REMEDY}"
        )


def compare_with_reference(experiment: Experiment, fit: Fit, frames: Frames, answers: Answers) -> None:
    """Note populations of the reference's regions, the divergence of the Ramachandran plot, and what is known of both.

    The divergence is that of the draws, weighted and as they are generated, from the reference, in its bins; beside it
    stands that of draws from the reference itself, as many as there are or as count.
    """
    settings = experiment.analysis
    assert settings.reference is not None
    reference = load_reference(settings.reference)
    angles = named_observables(["phi", "psi"], fit, frames)
    phi, psi = (evaluate(angle, frames) for angle in angles)
    for name, region in reference.regions.items():
        if settings.regions.get(name, region) != region:
            continue  # the experiment calls another region so
        key = f"population_{re.sub(r'[^a-z0-9]+', '_', name)}"
        if key not in answers.quantities:
            inside = reference.contains(name, phi, psi).astype(float)
            answers.add(key, average(inside, frames, settings.draws, experiment.run.seed, ""))
        answers.quantities[key]["truth"] = reference.populations[name][0]
    for a, b in settings.differences:
        if all(reference.regions.get(name) == settings.regions[name] for name in (a, b)):
            ratio = reference.populations[b][0] / reference.populations[a][0]
            answers.quantities[difference_name(settings, a, b)]["truth"] = -math.log(ratio)
    for name in _OBSERVABLES:
        if name in answers.quantities:
            answers.quantities[name]["truth"] = reference.averages[name][0]
    generated = fit.generate(min(len(frames), 100_000), draws=1, seed=experiment.run.seed)[0]
    raw = [angle(generated).double().cpu().numpy() for angle in angles]
    weight = np.ones(len(frames)) if frames.weights is None else np.asarray(frames.weights, np.float64)
    effective = weight.sum() ** 2 / np.square(weight).sum()
    answers.diagnostics["ramachandran"] = {
        "reference": settings.reference,
        "kl_generated": reference.divergence(_histogram(reference, *raw)),
        "kl_reweighted": reference.divergence(_histogram(reference, phi, psi, weight)),
        "kl_floor_of_reference": reference.kl_floor,
        "bins": len(reference.edges) - 1,
        "generated": len(generated),
        "reweighted": len(frames),
        "frames_of_reference": reference.frames,
    }
    answers.diagnostics["ramachandran"] |= {
        "kl_exact_draws_generated": _scatter(reference, len(generated), experiment.run.seed),
        "kl_exact_draws_reweighted": _scatter(reference, int(effective), experiment.run.seed),
    }
    for axis, name in enumerate(("phi", "psi")):
        answers.known[name] = reference.edges, reference.probability.sum(1 - axis)


def _scatter(reference: Reference, count: int, seed: int, repeats: int = 5) -> float:
    """Divergence from the reference of so many independent draws from itself, on average."""
    random, shares = np.random.default_rng(seed), reference.probability
    drawn = random.multinomial(max(1, count), shares.ravel(), size=repeats).reshape(repeats, *shares.shape)
    return float(np.mean([reference.divergence(one) for one in drawn]))


def _called(text: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a system from the call that makes it, with a remark behind."""
    call = ast.parse(text[: text.rindex(")") + 1], mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    given = [ast.literal_eval(value) for value in call.args]
    named = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg is not None}
    bound = inspect.signature(getattr(systems, call.func.id)).bind_partial(*given, **named)
    return call.func.id, dict(bound.arguments)


def _histogram(reference: Reference, phi: Any, psi: Any, weights: Any = None) -> np.ndarray:
    return np.histogram2d(phi, psi, bins=[reference.edges, reference.edges], weights=weights)[0]
