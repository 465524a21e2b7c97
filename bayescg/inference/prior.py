"""What a model says before it has seen anything: parameters from their priors, and frames by these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from bayescg.data import Stretches
from bayescg.errors import ModelError
from bayescg.inference.trained import TrainedModel
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, fresh_copy
from bayescg.modelling.traces import is_local, sites
from bayescg.recording.functional import seeded, state_of

__all__ = ["at", "prior_draws"]


def prior_draws(model: Model, frames: Any, draws: int, seed: int = 0) -> Iterator[TrainedModel]:
    """The model at draws of its random parameters from their priors, one after the other.

    Scales are those of the frames (`Model.setup`), and parameters without a prior fresh ones, the same in all.

    Parameters
    ----------
    model : Model
    frames : Frames
    draws, seed : int

    Raises
    ------
    ModelError
        No parameter has a prior, or the model generates no frames.

    Examples
    --------
    >>> from bayescg.models import PredictiveCV
    >>> model, frames, _ = PredictiveCV.example()
    >>> first, second = prior_draws(model, frames, 2)
    >>> bool((first.generate(5) != second.generate(5)).any())
    True
    """
    if model.needs_pairs or isinstance(model.rows(frames), Stretches):
        raise ModelError(f"{type(model).__name__} says how frames follow each other, and generates none by itself")
    copy = fresh_copy(model)
    copy.setup(frames)
    device = next(copy.parameters()).device
    with seeded(seed, device):
        copy.reset()
    for number in range(draws):
        with seeded(seed + 1 + number, device), torch.no_grad():
            values = _global_values(copy)
        yield at(copy, values)


def at(model: Model, values: dict[str, Tensor]) -> TrainedModel:
    """A copy of a model with other values of some parameters, and no uncertainty of them."""
    moved = fresh_copy(model)
    with torch.no_grad():
        for name, value in values.items():
            moved.get_parameter(name).copy_(value)
    return TrainedModel(moved, Posterior("none", state_of(moved), {}, tuple(values)))


def _global_values(model: Model) -> dict[str, Tensor]:
    program = model.model if model.needs_frames else model.guide
    parameters = dict(model.named_parameters())
    try:
        latent = sites(poutine.trace(program).get_trace(Batch(total=2)))
    except (AssertionError, AttributeError, TypeError) as error:  # what comes of batch.x = None
        raise ModelError(f"{type(model).__name__} generates no frames, by any parameters") from error
    values = {k: s["value"] for k, s in latent.items() if k in parameters and not s["is_observed"] and not is_local(s)}
    if not values:
        raise ModelError(
            f"no parameter of {type(model).__name__} has a prior: its program samples none; give a reference fit"
        )
    return values
