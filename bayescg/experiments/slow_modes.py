"""What a run asks of a fit that learned functions of slow modes: eigenvalues, timescales, eigenfunctions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg import systems, truth
from bayescg.analysis import SlowModes, spectrum
from bayescg.errors import ConfigError
from bayescg.experiments.questions import Answers
from bayescg.systems.analytic import AnalyticSystem

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit

__all__ = ["ask_slow_modes", "eigenfunction_r2"]

_FEWEST_BLOCKS = 20


def ask_slow_modes(experiment: Experiment, fit: Fit, frames: Frames) -> Answers:
    """All questions of an experiment whose model has a basis of functions.

    Parameters
    ----------
    experiment : Experiment
        Of a system whose spectrum is known by quadrature, each eigenvalue and timescale has its truth beside it.
    fit : Fit
    frames : Frames
        All of them.
    """
    settings, seed = experiment.analysis, experiment.run.seed
    count = int(getattr(fit.model, "modes", 3))
    modes = spectrum(fit, frames, modes=count, draws=settings.draws, seed=seed)
    answers = Answers(modes=modes, warnings=list(modes.warnings))
    for name, quantity in modes.quantities.items():
        answers.add(name, quantity)
        if quantity.warning and quantity.warning not in answers.warnings:
            answers.warnings.append(quantity.warning)
    exact = _exact(experiment, fit, count)
    known = dict(settings.truth)
    if exact is not None:
        answers.rates = exact.eigenvalues.tolist()
        known |= {f"eigenvalue_{k + 1}": float(v) for k, v in enumerate(exact.eigenvalues)}
        answers.diagnostics["eigenfunction_r2"] = eigenfunction_r2(modes, exact, frames)
    for k in range(1, count + 1):
        if f"eigenvalue_{k}" in known:
            known.setdefault(f"timescale_{k}", 1.0 / known[f"eigenvalue_{k}"])
    for name, value in known.items():
        if name in answers.quantities:
            answers.quantities[name]["truth"] = value
    answers.diagnostics |= {
        "basis_rank": modes.rank, "blocks": modes.blocks, "inefficiency": modes.inefficiency,
        "relative_bias_removed": modes.bias.tolist(),
        "held_out_eigenvalues": modes.held_out.mean("fold").values.tolist(),
        "effective_frames": fit.diagnostics["effective_frames"],
    }  # fmt: skip
    if modes.blocks < _FEWEST_BLOCKS:
        answers.warnings.append(
            f"only {modes.blocks} blocks are nearly independent: the intervals are rough, simulate longer"
        )
    return answers


def eigenfunction_r2(modes: SlowModes, exact: truth.Spectrum, frames: Any, most: int = 20_000) -> list[float]:
    """Squared correlation over frames of each eigenfunction's posterior mean with the exact one.

    Parameters
    ----------
    modes : SlowModes
    exact : Spectrum
        Of :func:`bayescg.truth.spectrum`.
    frames : Frames
    most : int
        At most so many of them, evenly spaced.
    """
    index = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), most)).astype(int))
    weight = None if frames.weights is None else np.asarray(frames.weights)[index]
    found = modes.eigenfunction_moments(frames.subset(index))[0]
    phi = exact.eigenfunctions(torch.as_tensor(frames.gather(index), dtype=torch.float64)).numpy()
    k = found.shape[1]
    c = np.cov(found.T, phi.T, aweights=weight)
    return (np.diag(c[:k, k:]) ** 2 / np.diag(c[:k, :k]) / np.diag(c[k:, k:])).tolist()


def _exact(experiment: Experiment, fit: Fit, count: int) -> truth.Spectrum | None:
    """By finite volumes, where the system is one of few dimensions, or separates into such."""
    if experiment.system is None:
        return None
    system = getattr(systems, experiment.system.name)(**experiment.system.arguments)
    diffusion = getattr(fit.model, "diffusion", None)
    if not isinstance(system, AnalyticSystem) or not isinstance(diffusion, float):
        return None
    try:
        return truth.spectrum(system, modes=count, diffusion=diffusion, cells=10_000)
    except ConfigError:  # too many dimensions that move together
        return None
