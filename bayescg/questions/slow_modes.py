"""What a run asks of a fit that learned functions of slow modes: eigenvalues, timescales, eigenfunctions, lags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg import systems, truth
from bayescg.analysis import ChapmanKolmogorov, SlowModes, chapman_kolmogorov, compare, spectrum
from bayescg.analysis.kinetics.chapman_kolmogorov import against_lag
from bayescg.errors import ConfigError
from bayescg.questions.lag_times import multiples
from bayescg.questions.predictions import Answers
from bayescg.systems.analytic import AnalyticSystem

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.data import Frames
    from bayescg.experiments.schema import Experiment
    from bayescg.inference import Fit

__all__ = ["SlowAnswers", "ask_slow_modes", "eigenfunction_r2"]

_FEWEST_BLOCKS = 20
_USUAL = 3
_LARGEST_DIFFERENCE = 0.05
_MOST_OUTSIDE = 0.3  # a tenth would be by chance


@dataclass
class SlowAnswers(Answers):
    """What was found of slow modes.

    Attributes
    ----------
    timescales : DataArray, (lag, draw, mode), or None
        Implied timescales in the same functions at several lags.
    test : ChapmanKolmogorov or None
    """

    timescales: xr.DataArray | None = None
    test: ChapmanKolmogorov | None = None


def ask_slow_modes(experiment: Experiment, fit: Fit, frames: Frames, test: Frames) -> SlowAnswers:
    """All questions of an experiment whose model has a basis of functions.

    Parameters
    ----------
    experiment : Experiment
        Of a system whose spectrum is known by quadrature, each eigenvalue and timescale has its truth beside it.
    fit : Fit
    frames : Frames
        All of them.
    test : Frames
        Those that the fit has not seen: a score of its functions at its lag is of them.
    """
    settings, seed = experiment.analysis, experiment.run.seed
    most = _functions(fit, frames)
    trained = int(getattr(fit.model, "modes", 0))
    asked = settings.modes or trained or _USUAL
    count = min(asked, most)
    modes = spectrum(fit, frames, modes=count, draws=settings.draws, seed=seed)
    answers = SlowAnswers(modes=modes, warnings=list(modes.warnings))
    if settings.modes is not None and count < asked:
        answers.warnings.append(
            f"analysis.modes = {asked}, but the basis has {most} independent functions: there are {count} modes; give "
            "the model more states or functions"
        )
    if 0 < trained < count:
        answers.warnings.append(
            f"the functions were trained for {trained} modes, so that those beyond may be too fast; set model.modes"
        )
    _note(answers, modes)
    exact = _exact(experiment, fit, count)
    known = dict(settings.truth)
    if exact is not None:
        answers.rates = exact.eigenvalues.tolist()
        known |= {f"eigenvalue_{k + 1}": float(v) for k, v in enumerate(exact.eigenvalues)}
        answers.diagnostics["eigenfunction_r2"] = eigenfunction_r2(modes, exact, frames)
    _lags(answers, experiment, fit, frames, modes)
    for k in range(1, count + 1):
        if f"eigenvalue_{k}" in known:
            known.setdefault(f"timescale_{k}", 1.0 / known[f"eigenvalue_{k}"])
    for name, quantity in answers.quantities.items():
        quantity["truth"] = known.get(name, known.get(name.partition("_at_")[0]))
    answers.diagnostics |= {
        "basis_rank": modes.rank, "blocks": modes.blocks, "inefficiency": modes.inefficiency,
        "relative_bias_removed": modes.bias.tolist(),
        "held_out_eigenvalues": modes.held_out.mean("fold").values.tolist(),
        "effective_frames": fit.diagnostics["effective_frames"],
    }  # fmt: skip
    if modes.lag is not None:
        score = compare({"fit": fit}, test, "vamp2", lag=modes.lag, modes=count)["fit"]
        answers.diagnostics |= {"held_out_vamp2": score.score, "held_out_vamp2_se": score.se}
    sd = modes.sd_by_source
    if (refits := sd.get("parameter")) is not None and (refits > sd["sampling"]).any():
        answers.warnings.append(
            "the refits differ by more than sampling would: some found poorer functions, which makes timescales too "
            "short and intervals wide; give the model more states or functions, or more steps"
        )
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


def _lags(answers: SlowAnswers, experiment: Experiment, fit: Fit, frames: Frames, modes: SlowModes) -> None:
    """Timescales against lag, and whether those of the fit's own lag say what happens at longer ones."""
    settings, seed, count = experiment.analysis, experiment.run.seed, modes.eigenvalues.sizes["mode"]
    tested = multiples(modes.lag, frames) if modes.lag is not None else []
    lags = settings.lags or [n * modes.lag for n in tested if modes.lag is not None]
    found = []
    for lag in sorted(set(lags)):
        one = modes
        if modes.lag is None or abs(lag - modes.lag) > 1e-6 * lag:
            one = spectrum(fit, frames, lag, modes=count, draws=settings.draws, seed=seed)
            _note(answers, one, f"_at_{lag:g}")
            if one.unresolved:
                answers.warnings.append(
                    f"modes without a timescale at lag {lag:g}: {', '.join(map(str, sorted(one.unresolved)))}; what "
                    "correlation is left then cannot be told from noise"
                )
        found.append(one)
    if len(found) > 1:
        answers.timescales = against_lag(found)
    if len(tested) > 1:
        asked = {"multiples": tested, "modes": count, "draws": settings.draws, "seed": seed}
        test = answers.test = chapman_kolmogorov(fit, frames, modes.lag, **asked)
        size = float(abs(test.difference.mean("draw")).max())
        outside = float(test.outside.isel(lag=slice(1, None)).mean())
        answers.diagnostics |= {
            "chapman_kolmogorov_largest_difference": size, "chapman_kolmogorov_outside": outside
        }  # fmt: skip
        if size > _LARGEST_DIFFERENCE and outside > _MOST_OUTSIDE:
            answers.warnings.append(
                f"Chapman-Kolmogorov test: correlations at longer lags differ by up to {size:.2g} from what lag "
                f"{modes.lag:g} predicts, {outside:.0%} of them by more than their 90 % intervals allow; use a longer "
                "one, or functions that resolve more"
            )


def _note(answers: SlowAnswers, modes: SlowModes, suffix: str = "") -> None:
    for name, quantity in modes.quantities.items():
        if suffix and (quantity.warning or not name.startswith("timescale")):
            continue
        answers.add(name + suffix, quantity)
        if quantity.warning and not suffix and quantity.warning not in answers.warnings:
            answers.warnings.append(quantity.warning)


def _functions(fit: Fit, frames: Frames) -> int:
    """How many functions the basis has, without those that depend linearly on others or are constant."""
    index = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), 2000)).astype(int))
    with torch.no_grad():
        values = fit.model.basis(torch.as_tensor(frames.gather(index)).to(next(fit.model.parameters())))  # type: ignore[operator]
    return max(1, int(torch.linalg.matrix_rank((values - values.mean(0)).double(), rtol=1e-4)))


def _exact(experiment: Experiment, fit: Fit, count: int) -> truth.Spectrum | None:
    """By finite volumes, where the system is one of few dimensions, or separates into such."""
    if experiment.system is None or experiment.data.frames is not None:
        return None
    system = getattr(systems, experiment.system.name)(**experiment.system.arguments)
    if not isinstance(system, AnalyticSystem):
        return None
    diffusion = getattr(fit.model, "diffusion", system.kT)  # that of the simulation
    if not isinstance(diffusion, float):
        return None
    try:
        return truth.spectrum(system, modes=count, diffusion=diffusion, cells=10_000)
    except ConfigError:  # too many dimensions that move together
        return None
