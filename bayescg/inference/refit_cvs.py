"""The CVs of refits, each turned onto those of the trained model by the best orthogonal map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayescg.data import Frames, evenly
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.model import Model, cv_of
from bayescg.recording.functional import Params, call_with, over

__all__ = ["mixture", "refit_cvs", "refit_functions", "rotations", "turned"]


def refit_cvs(model: Model, weights: Posterior, x: Tensor) -> tuple[Tensor, Tensor]:
    """Means and variances of the CVs of configurations for each refit, as it has them, ``(refits, n, latent_dim)``."""

    def moments(v: Params) -> tuple[Tensor, Tensor]:
        d = call_with(model, {**weights.point, **v}, lambda m: cv_of(m, x))
        return d.mean, d.variance

    return over(moments, ({k: 0 for k in weights.tensors},))(weights.tensors)


def refit_functions(
    model: Model, weights: Posterior | None, of: Callable[[Any, Tensor], Tensor]
) -> list[Callable[[Tensor], Tensor]]:
    """What each refit says of positions, as functions of them; of a model without refits its own.

    Parameters
    ----------
    model : Model
    weights : Posterior, optional
    of : callable
        From a model and positions to values.
    """
    if weights is None or weights.members is None:
        return [lambda x: of(model, x)]
    point = weights.point
    each = [{k: v[m] for k, v in weights.tensors.items()} for m in range(weights.members)]
    return [lambda x, v=v: call_with(model, {**point, **v}, lambda refit: of(refit, x)) for v in each]


def rotations(model: Model, weights: Posterior, frames: Frames) -> Tensor:
    """The orthogonal map of each refit's CVs, ``(refits, latent_dim, latent_dim)``, fitted on some of the frames.

    The leading `Model.fixed_cvs` stay as they are.
    """
    index = evenly(frames, 2000)
    parameter = next(model.parameters())
    with torch.no_grad():
        x = torch.as_tensor(frames.gather(index)).to(parameter.device, dtype=parameter.dtype)
        means, _ = refit_cvs(model, weights, x)
        target, fixed = cv_of(model, x).mean, model.fixed_cvs  # type: ignore[arg-type]
        u, _, vh = torch.linalg.svd(torch.einsum("mnd,na->mda", means[..., fixed:], target[..., fixed:]))
        turns = torch.eye(means.shape[-1]).to(means).repeat(len(means), 1, 1)
        turns[:, fixed:, fixed:] = u @ vh
    return turns


def turned(means: Tensor, variances: Tensor, gauge: Tensor) -> tuple[Tensor, Tensor]:
    """Means and covariances in the trained one's gauge, ``(n, refits, latent_dim)`` and one axis more."""
    covariances = torch.einsum("mda,mnd,mdb->nmab", gauge, variances, gauge)
    return torch.einsum("mnd,mda->nma", means, gauge), covariances


def mixture(means: Tensor, covariances: Tensor) -> torch.distributions.Distribution:
    """All refits' normal distributions, counted alike: batch shape ``(n,)``.

    Where covariances are singular in this precision, as those of states that share out one probability, no direction is
    narrower than a thousandth of the widest.
    """
    flat = torch.linalg.cholesky_ex(covariances).info > 0
    widest = torch.where(flat, covariances.diagonal(dim1=-2, dim2=-1).amax(-1), 0.0)
    floor = 1e-6 * widest[..., None, None] * torch.eye(means.shape[-1]).to(means)
    parts = torch.distributions.MultivariateNormal(means, covariances + floor)
    even = torch.distributions.Categorical(logits=means.new_zeros(means.shape[:2]))
    return torch.distributions.MixtureSameFamily(even, parts)
