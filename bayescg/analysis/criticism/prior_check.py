"""Does a prior allow what is seen: averages of observables by draws of the parameters from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bayescg.analysis.block_bootstrap import weights_of
from bayescg.analysis.criticism.checklist import functions_of
from bayescg.analysis.criticism.checklist_table import Check, Checklist
from bayescg.analysis.evaluation import evaluate, label, moments, unit_of, wrap
from bayescg.analysis.fit_checks import check_question
from bayescg.arguments import check_numbers
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.inference.prior import prior_draws
from bayescg.modelling import Model

__all__ = ["prior_check"]

_DRAWS = 1000


def prior_check(
    model: Model,
    frames: Frames,
    observables: Sequence[str | Callable[..., Any]] | str | Callable[..., Any] | None = None,
    *,
    level: float = 0.01,
    samples: int = 200,
    draws: int | None = None,
    seed: int = 0,
) -> Checklist:
    """Say whether the model, before it was trained, could have given averages such as those of the frames.

    A prior predictive check. A prior that fails says that what is seen is next to impossible, and biases what is
    learned; one that passes may still be far too wide. Where a model takes the scale and place of its features from
    data, they are those of these frames: frames that are moved or stretched as a whole pass alike, and what is checked
    is their shape.

    Parameters
    ----------
    model : Model
    frames : Frames
    observables : sequence of str or callable, or one of these, optional
        As of :func:`bayescg.analysis.checklist`; averages of angles are circular. ``"rmsd"`` is from the reference of
        the model's aligned features, or else from the first of the frames.
    level : float
        Chance that any check of a right prior fails.
    samples : int
        Frames generated at each draw.
    draws : int, optional
        Of the parameters. The least p of so many is 2 / (draws + 1), and has to lie below `level` over the number of
        observables; None: 1000, or as many as these need.
    seed : int

    Raises
    ------
    ConfigError
        So few draws that no check could fail.
    ModelError
        The model has no random parameters, or generates no frames.

    References
    ----------
    G. E. P. Box, J. R. Stat. Soc. A 143, 383 (1980); J. Gabry et al., J. R. Stat. Soc. A 182, 389 (2019), section 3.

    Examples
    --------
    >>> from bayescg.models import PredictiveCV
    >>> model, frames, _ = PredictiveCV.example()
    >>> prior_check(model, frames, lambda x: x[:, 0], level=0.05, draws=40).passed
    True
    """
    check_question(frames, samples=(samples, 2), seed=(seed, 0))
    check_numbers(level=(level, "(0, 1)"))
    functions = functions_of(observables, model, frames, None)
    fewest = math.floor(2 * len(functions) / level)
    draws = max(_DRAWS, fewest) if draws is None else draws
    check_question(frames, draws=(draws, 1))
    if draws < fewest:
        raise ConfigError(
            f"draws={draws} are too few to tell: {len(functions)} observables at level {level:g} need {fewest} for any "
            "to fail"
        )
    weight, periodic = weights_of(frames), [unit_of(function) == "rad" for function in functions]
    averages = np.empty((draws, len(functions)))
    for number, trained in enumerate(prior_draws(model, frames, draws, seed)):
        x = trained.generate(samples, seed=seed + number)[0].cpu().reshape(-1, *frames.positions.shape[1:])
        for column, (function, angle) in enumerate(zip(functions, periodic, strict=True)):
            values = torch.as_tensor(function(x)).double().numpy()
            averages[number, column] = moments(values, np.ones(len(x)), angle)[0]
    rows = []
    for function, by_draw, angle in zip(functions, averages.T, periodic, strict=True):
        observed = float(moments(evaluate(function, frames), weight, angle)[0])
        p, predicted = _tails(by_draw, observed, angle)
        rows.append(Check(label(function), "prior", observed, predicted, unit_of(function), p))
    return Checklist(tuple(rows), level)


def _tails(by_draw: np.ndarray, observed: float, periodic: bool) -> tuple[float, float]:
    """Two-sided p of a value among draws, and their median; of angles those nearest to the circular mean of all."""
    if periodic:
        together = np.append(by_draw, observed)
        centre = moments(together, np.ones(len(together)), periodic)[0]
        by_draw, observed = centre + wrap(by_draw - centre), float(centre + wrap(observed - centre))
    tail = min((by_draw <= observed).sum(), (by_draw >= observed).sum())
    median = np.median(by_draw)
    return min(1.0, 2 * (int(tail) + 1) / (len(by_draw) + 1)), float(wrap(median) if periodic else median)
