"""What a fit without frames predicts of a molecule, held to a reference."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.analysis import statistics
from bayescg.errors import ConfigError
from bayescg.experiments.questions import Answers, average
from bayescg.experiments.references import load_reference, reference_names

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.references import Reference
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit

__all__ = ["compare_with_reference"]

_OBSERVABLES = ("rg", "rg_mass", "end_to_end")


def compare_with_reference(experiment: Experiment, fit: Fit, frames: Frames, answers: Answers) -> None:
    """Note populations of the reference's regions, the divergence of the Ramachandran plot, and what is known of both.

    The divergence is that of the draws, weighted and as they are generated, from the reference, in its bins; what the
    numbers of frames on both sides alone would make of it stands beside.

    Raises
    ------
    ConfigError
        There is no such reference, or it is of another temperature.
    """
    settings = experiment.analysis
    assert settings.reference is not None
    if settings.reference not in reference_names():
        known = ", ".join(reference_names())
        raise ConfigError(f'analysis.reference = "{settings.reference}": there is none; shipped are {known}')
    reference = load_reference(settings.reference)
    if frames.temperature != reference.made["temperature"]:
        raise ConfigError(
            f"the reference {settings.reference} is at {reference.made['temperature']:g} K, the system at "
            f"{frames.temperature} K: set system.temperature, or leave analysis.reference out"
        )
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
