"""Trajectories drawn from a fitted kernel, step by step of its lag time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts
from bayescg.data import Frames
from bayescg.errors import DataError, ModelError
from bayescg.feeding.chunks import chunks
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.model import Model
from bayescg.modelling.transition import HasTransition
from bayescg.recording.functional import call_with, mixed_seed, seeded
from bayescg.systems import System

__all__ = ["sampled_path"]


def sampled_path(
    model: Model,
    weights: Posterior,
    like: Frames | None,
    x0: Any,
    steps: int,
    draws: int | None,
    seed: int,
    system: System | None,
) -> Frames:
    """What `Fit.sample_path` gives; topology, unit and temperature are those of `x0`, or else of frames `like` it.

    Raises
    ------
    ModelError
        The model has no transitions, or a draw is wanted of a fit that has no parameter uncertainty.
    ConfigError
        There are not so many refits.
    DataError
        The starts are no configurations of the model's, or nothing says what they are.
    """
    check_counts(steps=(steps, 1), seed=(seed, 0))
    if not isinstance(model, HasTransition):
        raise ModelError(f"{type(model).__name__} says nothing of what follows a frame, so there are no paths to draw")
    like = x0 if isinstance(x0, Frames) else like
    if like is None:
        raise DataError("this fit has no frames that say what x0 are, as one that was loaded: give Frames as x0")
    device = next(model.parameters()).device
    x = torch.cat(list(chunks(x0, next(model.parameters()))))
    expected = like.gather([0]).shape[1:]
    if x.shape[1:] != expected or not len(x):
        raise DataError(f"x0 has shape {tuple(x.shape)}; give one or more configurations of shape {tuple(expected)}")
    varying, many = weights.some(None, draws, seed, type(model).__name__)
    paths, accepted = [], []
    for number in range(many or 1):
        point = {**weights.point, **{name: values[number] for name, values in varying.items()}}
        with seeded(mixed_seed(seed, number), device), torch.no_grad():
            path, share = call_with(model, point, _followed, x, steps, system)
        paths.append(path.cpu().numpy())
        accepted.append(share)
    frames = Frames.from_numpy(
        np.concatenate(paths), unit=like.unit, dt=model.lag, temperature=like.temperature,
        temperature_kT=like.temperature_kT, topology=like.topology, source="sample_path",
        trajectory=np.repeat(np.arange(len(x) * len(paths)), steps),
    )  # fmt: skip
    note = {**frames.provenance, "sampler": "sample_path", "lag": model.lag, "seed": seed}
    if many is not None:
        note["potential_draws"] = many
    if system is not None:
        note["acceptance"] = float(np.mean(accepted))
    return replace(frames, provenance=note)


def _followed(model: Any, x: Tensor, steps: int, system: System | None) -> tuple[Tensor, float]:
    """Positions, path by path, and the share of steps that were accepted."""

    def log_ratio(u: Tensor) -> Tensor:
        """Log of the system's density over the model's, up to a constant."""
        assert system is not None
        return system.log_prob(model.positions(u).flatten(1)) - model.log_equilibrium(u)

    u, path, accepted = model.configuration(x), [], 0.0
    ratio = None if system is None else log_ratio(u)
    for _ in range(steps):
        moved = model.transition(u).sample()
        if ratio is not None:  # p(x|y) / p(y|x) = mu(x) / mu(y)
            proposed = log_ratio(moved)
            accept = torch.rand_like(ratio).log() < proposed - ratio
            moved, ratio = torch.where(accept[:, None], moved, u), torch.where(accept, proposed, ratio)
            accepted += float(accept.double().mean()) / steps
        u = moved
        path.append(u)
    return model.positions(torch.stack(path, 1).flatten(0, 1)), accepted
