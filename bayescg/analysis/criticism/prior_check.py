"""Does a prior allow what is seen: averages of observables by draws of the parameters from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bayescg.analysis.block_bootstrap import weights_of
from bayescg.analysis.criticism.checklist import functions_of
from bayescg.analysis.criticism.checklist_table import Check, Checklist
from bayescg.analysis.evaluation import evaluate, label, unit_of
from bayescg.analysis.fit_checks import check_question
from bayescg.data import Frames
from bayescg.inference.prior import prior_draws
from bayescg.modelling import Model

__all__ = ["prior_check"]


def prior_check(
    model: Model,
    frames: Frames,
    observables: Sequence[str | Callable[..., Any]] | None = None,
    *,
    level: float = 0.01,
    samples: int = 200,
    draws: int = 1000,
    seed: int = 0,
) -> Checklist:
    """Say whether the model, before it was trained, could have given averages such as those of the frames.

    A prior predictive check. A prior that fails says that what is seen is next to impossible, and biases what is
    learned; one that passes may still be far too wide. p-values are as fine as `draws` allow.

    Parameters
    ----------
    model : Model
    frames : Frames
    observables : sequence of str or callable, optional
        As of :func:`bayescg.analysis.checklist`.
    level : float
        Chance that any check of a right prior fails.
    samples : int
        Frames generated at each draw.
    draws : int
        Of the parameters.
    seed : int

    Raises
    ------
    ModelError
        The model has no random parameters, or generates no frames.

    References
    ----------
    G. E. P. Box, J. R. Stat. Soc. A 143, 383 (1980); J. Gabry et al., J. R. Stat. Soc. A 182, 389 (2019), section 3.

    Examples
    --------
    >>> from bayescg.models import PredictiveCV
    >>> model, frames, _ = PredictiveCV.example()
    >>> prior_check(model, frames, draws=100).passed
    True
    """
    check_question(frames, samples=(samples, 2), draws=(draws, 20), seed=(seed, 0))
    functions = functions_of(observables, None, frames, None)
    averages = np.empty((draws, len(functions)))
    for number, trained in enumerate(prior_draws(model, frames, draws, seed)):
        x = trained.generate(samples, seed=seed + number)[0].cpu().reshape(-1, *frames.positions.shape[1:])
        averages[number] = [float(torch.as_tensor(function(x)).double().mean()) for function in functions]
    rows = []
    for function, by_draw in zip(functions, averages.T, strict=True):
        observed = float(np.average(evaluate(function, frames), weights=weights_of(frames)))
        tail = min((by_draw <= observed).sum(), (by_draw >= observed).sum())
        p = min(1.0, 2 * (tail + 1) / (draws + 1))
        rows.append(Check(label(function), "prior", observed, float(np.median(by_draw)), unit_of(function), float(p)))
    return Checklist(tuple(rows), level)
