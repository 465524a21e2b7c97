"""Simulation-based calibration: frames are made by parameters that are drawn, fitted, and answers held to the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayescg.analysis.coverage import Coverage, halved, judged
from bayescg.analysis.criticism.checklist import functions_of
from bayescg.analysis.evaluation import label, moments, unit_of, wrap
from bayescg.analysis.fit_checks import check_question
from bayescg.arguments import check_counts
from bayescg.data import Frames
from bayescg.draws import ecdf_band, interval
from bayescg.errors import ConfigError
from bayescg.inference import Fit, fit
from bayescg.inference.prior import at, prior_draws
from bayescg.inference.trained import TrainedModel
from bayescg.many.dispatch import calls, carry_out
from bayescg.modelling import Model

__all__ = ["Replicate", "Simulated", "simulated_truth"]

_LEVEL = 0.99


@dataclass(frozen=True, repr=False)
class Simulated:
    """Ranks of the truth among draws of the posterior, and how often intervals hold it.

    Attributes
    ----------
    ranks : dict of str to ndarray, (repeats,)
        For each quantity, which part of the draws lies below the truth: uniform where the posterior is right.
    control : dict of str to ndarray, (repeats,)
        The same of draws half as far from their mean, which claim too much.
    coverage : Coverage
        Of 90 % intervals of the difference from the truth, with bias and width.
    """

    ranks: dict[str, np.ndarray]
    control: dict[str, np.ndarray]
    coverage: Coverage

    @property
    def uniform(self) -> dict[str, bool]:
        """Of each quantity, whether its ranks stay in the band that uniform ones leave; once in a hundred, any does."""
        return _uniform(self.ranks)

    @property
    def ok(self) -> bool:
        """Whether all ranks are uniform and all intervals hold."""
        return all(self.uniform.values()) and self.coverage.ok

    @property
    def control_fails(self) -> bool:
        """Whether the draws that claim too much are found out, by every quantity."""
        return not any(_uniform(self.control).values())

    def __repr__(self) -> str:
        words = [f"{name}: {'uniform' if good else 'NOT UNIFORM'}" for name, good in self.uniform.items()]
        passes = "too few repeats to tell the control" if self.coverage.too_few else "control PASSES"
        return f"{self.coverage!r}\n  ranks of {', '.join(words)}; {'control fails' if self.control_fails else passes}"


def simulated_truth(
    model: Model | Fit,
    frames: Frames,
    observables: Sequence[str | Callable[..., Any]] | str | Callable[..., Any] | None = None,
    *,
    repeats: int = 200,
    samples: int = 4000,
    draws: int | None = None,
    seed: int = 0,
    workers: int | None = 0,
    cluster: Any = None,
    out: str | Path | None = None,
    progress: bool | None = None,
    **training: Any,
) -> Simulated:
    r"""Hold the posterior of a model to truths that are known, because frames are simulated with them.

    Each repeat draws parameters, generates as many independent frames as are given, fits the model to them, and asks
    where the true average of each observable lies among those that draws of the posterior predict. Parameters come
    from the model's own prior, whence ranks are uniform exactly where inference is; or, given a fit, from its
    posterior, which tries inference where it is needed: with data that tell more than the prior, ranks are uniform
    there, too, up to what the prior says. What is wrong with the model itself, no simulation by it can tell: see
    :func:`bayescg.analysis.checklist`.

    Parameters
    ----------
    model : Model or Fit
        Whose prior, or whose posterior, the truths are drawn from. The model is fitted as `training` says, or as the
        fit was.
    frames : Frames
        How many frames, of which units and topology, and the scales of models that take these from the data.
    observables : sequence of str or callable, or one of these, optional
        As of :func:`bayescg.analysis.checklist`; averages of angles are circular. ``"rmsd"`` is from the reference of
        the model's aligned features, or else from the first of the frames.
    repeats : int
        That the controls are told takes 44 for an observable, 60 for three, 65 for five; with fewer, one that passes
        says nothing.
    samples : int
        Configurations by which averages are told, of the truth and of each draw by the same random numbers.
    draws : int, optional
        Of the posterior; None: every refit once, else 200.
    seed : int
    workers, cluster, out, progress : optional
        As of :func:`bayescg.analysis.coverage`.
    **training
        Arguments of :func:`bayescg.fit`.

    Returns
    -------
    Simulated
        `ok`, `control_fails`, the ranks, and the coverage of intervals.

    Raises
    ------
    ConfigError
        The model is no model, or posterior draws have no spread.
    ModelError
        A model without priors, where no fit is given; or one that generates no frames.
    RunError
        Some repeats failed, after all others were finished.

    References
    ----------
    S. Talts, M. Betancourt, D. Simpson, A. Vehtari, A. Gelman, arXiv:1804.06788 (2018); Y. Yao, A. Vehtari, D. Simpson,
    A. Gelman, "Yes, but did it work?", ICML 2018, for variational inference.

    Examples
    --------
    >>> from bayescg.models import PredictiveCoarseGraining
    >>> model, frames, _ = PredictiveCoarseGraining.example()
    >>> few = simulated_truth(model, frames, repeats=2, samples=50, steps=2, uncertainty="mean-field", progress=False)
    >>> list(few.ranks), len(few.ranks["x1"])
    (['x1', 'x2', 'x3'], 2)
    """
    check_question(frames, repeats=(repeats, 2), samples=(samples, 10), seed=(seed, 0))
    check_counts(workers=(workers or 0, 0))
    if not isinstance(model, Model | Fit):
        raise ConfigError(f"model is a {type(model).__name__}; give a model, or a fit as a reference")
    repeat = Replicate(model, frames, observables, samples, draws, training)
    repeat.truth(seed)  # what has none is an error of the caller's, not of a run
    jobs, where = calls(repeat, [{"seed": seed + k} for k in range(repeats)], out)
    results = carry_out(jobs, where, cluster, workers=workers, progress=progress)
    names = list(results[0])
    answers = {name: [result[name][:4] for result in results] for name in names}
    rows = (judged(n, 0.0, answers[n], [halved(a) for a in answers[n]], 0.9, len(names)) for n in names)
    return Simulated(
        {name: np.array([result[name][4] for result in results]) for name in names},
        {name: np.array([result[name][5] for result in results]) for name in names},
        Coverage(tuple(rows), 0.9, repeats),
    )


@dataclass(frozen=True)
class Replicate:
    """One truth and the posterior that answers for it; the attributes are arguments of `simulated_truth`."""

    model: Model | Fit
    frames: Frames
    observables: Sequence[str | Callable[..., Any]] | str | Callable[..., Any] | None
    samples: int
    draws: int | None
    training: Mapping[str, Any]

    def __call__(self, seed: int) -> dict[str, list[float]]:
        """By how much each observable is off: mean, sd and 90 % interval; ranks of the truth and of the control."""
        shape = self.frames.positions.shape[1:]
        functions = functions_of(self.observables, self.model, self.frames, None)
        truth = self.truth(seed)
        x = truth.generate(len(self.frames), seed=seed).cpu().numpy().reshape(len(self.frames), *shape)
        reduced = self.frames.temperature is None
        data = Frames.from_numpy(
            x, unit="reduced" if reduced else "nm", temperature=self.frames.temperature,
            temperature_kT=self.frames.temperature_kT if reduced else None, topology=self.frames.topology,
        )  # fmt: skip
        names = ("steps", "batch_size", "validation", "learning_rate", "uncertainty", "objective", "members")
        before = self.model.settings if isinstance(self.model, Fit) else {}
        settings = {name: before[name] for name in names if before.get(name) is not None}
        subject = self.model.model if isinstance(self.model, Fit) else self.model
        trained = fit(subject, data, **{**settings, "progress": False, **self.training, "seed": seed})
        averages = [
            self._averages(source.generate(self.samples, count, seed + 1), functions)
            for source, count in ((truth, None), (trained, self.draws))
        ]
        jitter = np.random.default_rng(seed).random(len(functions))
        return {
            label(function): self._answer(
                label(function), wrap(by_draw - true) if unit_of(function) == "rad" else by_draw - true, chance
            )
            for function, true, by_draw, chance in zip(functions, averages[0].T, averages[1].T, jitter, strict=True)
        }

    def truth(self, seed: int) -> TrainedModel:
        """The model at parameters of which its posterior, or that of the fit given, is to be right."""
        if isinstance(self.model, Model):
            return next(prior_draws(self.model, self.frames, 1, seed))
        values = {name: draws[0] for name, draws in self.model.parameters(1, seed).items()}
        if not values:
            raise ConfigError("the reference fit has no parameter uncertainty, so that there is one truth only")
        return at(self.model.model, values)

    def _averages(self, generated: torch.Tensor, functions: Sequence[Callable[..., Any]]) -> np.ndarray:
        """Of observables by each draw, (draws, observables)."""
        flat = generated.cpu().reshape(-1, *self.frames.positions.shape[1:])
        columns = []
        for function in functions:
            values = torch.as_tensor(function(flat)).detach().double().reshape(generated.shape[:2]).numpy()
            columns.append(moments(values, np.ones_like(values), unit_of(function) == "rad")[0])
        return np.stack(columns, 1)

    @staticmethod
    def _answer(name: str, apart: np.ndarray, jitter: float) -> list[float]:
        if len(apart) < 2 or not np.ptp(apart):
            raise ConfigError(f"draws of the posterior do not differ in {name}: fit with uncertainty='laplace', say")
        low, high = interval(apart, 0.9)
        shrunk = apart.mean() + 0.5 * (apart - apart.mean())
        below = [float(((values < 0).sum() + jitter) / (len(apart) + 1)) for values in (apart, shrunk)]
        return [float(apart.mean()), float(apart.std(ddof=1)), float(low), float(high), *below]


def _uniform(ranks: Mapping[str, np.ndarray]) -> dict[str, bool]:
    level = 1 - (1 - _LEVEL) / len(ranks)
    bands = {name: ecdf_band(u, level) for name, u in ranks.items()}
    return {name: bool(((ecdf >= low) & (ecdf <= high)).all()) for name, (_, ecdf, low, high) in bands.items()}
