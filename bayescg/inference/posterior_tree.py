"""Draws of a trained model with named dimensions."""

from __future__ import annotations

import warnings
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg.data import Frames, evenly
from bayescg.draws import to_tree
from bayescg.errors import ModelError
from bayescg.feeding.feed import relaxation
from bayescg.inference.trained import TrainedModel
from bayescg.modelling.model import HasCV, Model
from bayescg.recording.functional import seeded

if TYPE_CHECKING:
    import xarray as xr


__all__ = ["posterior_tree"]

_FEWEST_DRAWS = 100
"""Draws from which a tail of leave-one-out weights can be told."""
_INDEPENDENT = 1.2
"""Statistical inefficiency up to which frames pass for independent: what chance makes of a few hundred that are."""


def posterior_tree(
    trained: TrainedModel, draws: int | None, seed: int, frames: Frames | None, subset: int
) -> xr.DataTree:
    """What `Fit.posterior` returns, which says what the arguments are."""
    source = frames if frames is not None else trained.frames
    members = trained.weights.members
    draws = draws or members or 500
    varying = trained.parameters(draws, seed)
    names = [n for n in trained.weights.names if n in varying]
    attrs: dict[str, Any] = {
        "seed": seed, "uncertainty": trained.weights.kind, "kind": trained.model.kind, "bayescg": version("bayescg"),
    }  # fmt: skip
    groups: dict[str, Any] = {"posterior": {n: (("draw", *_dims(n, varying[n])), _numpy(varying[n])) for n in names}}
    coords: dict[str, Any] = {"draw": np.arange(draws)}
    if members:
        coords["refit"] = ("draw", np.arange(draws) % members)
    predicted = min(subset, len(source)) if source is not None else subset
    if trained.model.kind == "evidence" and not trained.model.conditional:
        shaped, dims, labels = _shaped(trained.model, trained.generated_inputs(predicted, draws, seed, replicates=True))
        coords |= labels
        groups["posterior_predictive"] = {"x": (("draw", "frame", *dims), shaped)}
    if source is not None:
        index = evenly(source, predicted)
        coords["frame"] = index
        few = torch.as_tensor(source.gather(index)).to(trained.device)
        if isinstance(trained.model, HasCV):
            with seeded(seed, trained.device):
                z = trained.cv_samples(few, draws)
            coords["latent"] = np.arange(z.shape[-1])
            groups["posterior"]["cv"] = (("draw", "frame", "latent"), _numpy(z))
        if "posterior_predictive" in groups and trained.model.needs_frames:
            shaped, dims, _ = _shaped(trained.model, trained.model.inputs(few)[None])
            groups["observed_data"] = {"x": (("frame", *dims), shaped[0])}
        if source.weights is not None:
            groups["constant_data"] = {"weight": (("frame",), np.asarray(source.weights, np.float64)[index])}
        g = relaxation(trained.model, source)
        attrs |= {"frames": len(source), "statistical_inefficiency": g}
        if (why := _no_log_likelihood(trained, source, g, draws)) is None:
            logs = _numpy(trained.log_density(source.subset(index), draws if varying else None, seed=seed))
            groups["log_likelihood"] = {"x": (("draw", "frame"), logs[np.arange(draws) % len(logs)])}
        else:
            attrs["no_log_likelihood"] = why
    elif trained.model.needs_frames:
        warnings.warn(
            "this fit was loaded without the frames that it was trained on: the tree has neither cv nor observed_data "
            "nor log_likelihood; give posterior(frames=...)",
            stacklevel=3,
        )
    return to_tree(groups, coords, attrs)


def _no_log_likelihood(trained: TrainedModel, frames: Frames, g: float, draws: int) -> str | None:
    """Why leave-one-out scores, which ArviZ makes of a log likelihood, would be wrong; None where they would not."""
    if trained.model.kind != "evidence" or not trained.model.needs_frames:
        return f"{type(trained.model).__name__} has no likelihood of frames"
    if trained.weights.kind == "laplace":
        return "a Laplace posterior predicts with the linearised model, which has no density"
    if frames.weights is not None and np.ptp(frames.weights) > 0:
        why = "the frames have uneven weights, and leave-one-out scores count them alike"
    elif g > _INDEPENDENT:
        why = f"the frames are correlated (g = {g:.1f}), and of a frame left out its neighbours tell"
    elif draws > (trained.weights.members or draws):
        why = "refits are repeated, and leave-one-out scores take each for another draw of the posterior"
    elif trained.weights.members and trained.weights.members < _FEWEST_DRAWS:
        why = f"leave-one-out scores need {_FEWEST_DRAWS} draws of the posterior, and a few refits are not so many"
    else:
        return None
    return f"{why}; bcg.analysis.compare scores blocks of held-out frames"


def _shaped(model: Model, x: Tensor) -> tuple[np.ndarray, tuple[str, ...], dict[str, Any]]:
    """Positions (..., atom, space) where generated values determine them, otherwise the values themselves."""
    with suppress(ModelError):
        x = model.positions(x)
    if x.dim() == 4 and x.shape[-1] == 3:
        return _numpy(x), ("atom", "space"), {"atom": np.arange(x.shape[-2]), "space": ["x", "y", "z"]}
    return _numpy(x), ("coordinate",), {"coordinate": np.arange(x.shape[-1])}


def _dims(name: str, value: Tensor) -> tuple[str, ...]:
    return tuple(f"{name}_{i}" for i in range(value.dim() - 1))


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()
