"""Trajectories drawn from a fitted kernel, step by step of its lag time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import array_of, check_counts
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.feeding.chunks import chunks
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.model import Model
from bayescg.modelling.transition import HasTransition
from bayescg.recording.functional import call_with, mixed_seed, seeded
from bayescg.systems import System
from bayescg.systems.core import check_system

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
    """What `Fit.sample_path` gives; topology and unit are those of `x0`, or else of the training frames, `like` it.

    The temperature is the system's, or else that of the training frames, or of `x0` where these are not at hand.

    Raises
    ------
    ModelError
        The model has no transitions, or a draw is wanted of a fit that has no parameter uncertainty.
    ConfigError
        There are not so many refits, or the system is none, or of another number of coordinates.
    DataError
        The starts are no configurations of the model's, or ones of no density, or nothing says what they are.
    """
    check_counts(steps=(steps, 1), seed=(seed, 0))
    if not isinstance(model, HasTransition):
        raise ModelError(f"{type(model).__name__} says nothing of what follows a frame, so there are no paths to draw")
    trained = like
    like = x0 if isinstance(x0, Frames) else like
    if like is None:
        raise DataError("this fit has no frames that say what x0 are, as one that was loaded: give Frames as x0")
    if not isinstance(x0, Frames | Tensor):
        x0 = array_of(x0, "x0", DataError)
    expected = (trained or like).gather([0]).shape[1:]
    if isinstance(x0, Frames) or x0.ndim:
        x = torch.cat(list(chunks(x0, next(model.parameters()))))
    else:
        x = torch.as_tensor(x0)
    if x.shape[1:] != expected or not x.numel():
        raise DataError(
            f"x0 has shape {tuple(x.shape)}; give one or more configurations of shape {tuple(expected)}, an array "
            f"(n, {', '.join(map(str, expected))})"
        )
    model.inputs(x[:1])  # of as many coordinates as the model's
    if system is not None:
        check_system(system)
        if system.dim != (size := x[0].numel()):
            raise ConfigError(f"system has {system.dim} coordinates, and x0 {size}: give the one the model learned of")
    thermal = trained or like
    temperature, temperature_kT = thermal.temperature, thermal.temperature_kT
    if system is not None:
        temperature, temperature_kT = system.temperature, system.kT if system.temperature is None else None
    varying, many = weights.some(None, draws, seed, type(model).__name__)
    paths, accepted = [], []
    for number in range(many or 1):
        point = {**weights.point, **{name: values[number] for name, values in varying.items()}}
        with seeded(mixed_seed(seed, number), x.device), torch.no_grad():
            path, share = call_with(model, point, _followed, x, steps, system)
        paths.append(path.cpu().numpy())
        accepted.append(share)
    frames = Frames.from_numpy(
        np.concatenate(paths), unit=like.unit, dt=model.lag, temperature=temperature,
        temperature_kT=temperature_kT, topology=like.topology, source="sample_path",
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
    bad = (~model.log_equilibrium(u).isfinite()).nonzero()[:5, 0].tolist()
    if bad:
        raise DataError(
            f"configurations {bad} of x0 have no density in the model: they lie far from all that it learned of; begin "
            "at ones like its training frames"
        )
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
