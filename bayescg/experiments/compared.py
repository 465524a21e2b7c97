"""What a fit without frames predicts of a molecule, held to a reference."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg import systems
from bayescg.analysis import statistics
from bayescg.errors import ConfigError
from bayescg.experiments.questions import Answers, average
from bayescg.experiments.references import load_reference, reference_names

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.references import Reference
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit

__all__ = ["check_reference", "compare_with_reference"]

_OBSERVABLES = ("rg", "rg_mass", "end_to_end")


def check_reference(experiment: Experiment) -> None:
    """Refuse a reference that does not exist or is of another temperature, before anything is computed.

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
    theirs = load_reference(name).made["temperature"]
    taken = inspect.signature(getattr(systems, experiment.system.name)).parameters.get("temperature")
    ours = experiment.system.arguments.get("temperature", None if taken is None else taken.default)
    if ours != theirs:
        raise ConfigError(
            f"the reference {name} is at {theirs:g} K, the system at {ours} K: set system.temperature, or "
            "analysis.reference=none"
        )


def compare_with_reference(experiment: Experiment, fit: Fit, frames: Frames, answers: Answers) -> None:
    """Note populations of the reference's regions, the divergence of the Ramachandran plot, and what is known of both.

    The divergence is that of the draws, weighted and as they are generated, from the reference, in its bins; what the
    numbers of frames on both sides alone would make of it stands beside.
    """
    settings = experiment.analysis
    assert settings.reference is not None
    reference = load_reference(settings.reference)
    angles = statistics.named_observables(["phi", "psi"], fit, frames)
    phi, psi = (statistics.evaluate(angle, frames) for angle in angles)
    for name in reference.regions:
        key = f"population_{re.sub(r'[^a-z0-9]+', '_', name)}"
        if key not in answers.quantities:
            inside = reference.contains(name, phi, psi).astype(float)
            answers.add(key, average(inside, frames, settings.draws, experiment.run.seed, ""))
        answers.quantities[key]["truth"] = reference.populations[name][0]
    for name in _OBSERVABLES:
        if name in answers.quantities:
            answers.quantities[name]["truth"] = reference.averages[name][0]
    generated = fit.generate(min(len(frames), 100_000), draws=1, seed=experiment.run.seed)[0]
    raw = [angle(generated).double().cpu().numpy() for angle in angles]
    weight = np.ones(len(frames)) if frames.weights is None else np.asarray(frames.weights, np.float64)
    answers.diagnostics["ramachandran"] = {
        "reference": settings.reference,
        "kl_generated": reference.divergence(_histogram(reference, *raw)),
        "kl_reweighted": reference.divergence(_histogram(reference, phi, psi, weight)),
        "kl_floor_of_reference": reference.kl_floor,
        "kl_floor_of_draws": float((reference.counts > 0).sum() / (2 * weight.sum() ** 2 / np.square(weight).sum())),
        "bins": len(reference.edges) - 1,
        "generated": len(generated),
        "reweighted": len(frames),
        "frames_of_reference": reference.frames,
    }
    for axis, name in enumerate(("phi", "psi")):
        answers.known[name] = reference.edges, reference.probability.sum(1 - axis)


def _histogram(reference: Reference, phi: Any, psi: Any, weights: Any = None) -> np.ndarray:
    return np.histogram2d(phi, psi, bins=[reference.edges, reference.edges], weights=weights)[0]
