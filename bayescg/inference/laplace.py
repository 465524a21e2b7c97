"""A Gaussian around the trained values, as wide as prior and data leave it."""

import math

import torch
from torch import Tensor
from torch.func import grad

from bayescg.errors import ModelError
from bayescg.inference.generation import generate
from bayescg.inference.objectives import log_marginal
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, point_guide
from bayescg.modelling.traces import run_pair
from bayescg.recording.functional import Params, call_with, functional_random, over, seeded

__all__ = ["laplace"]

_TINY = 1e-4


def laplace(model: Model, names: list[str], point: Params, frames: float, seed: int, rank: int = 512) -> Posterior:
    r"""Laplace approximation at the trained values: precision :math:`\Lambda + N F`.

    F is the expected Fisher information of one frame, the second moment of the score of frames that the model itself
    generates, each score with the latent variables integrated out by importance weights. The prior's precision
    :math:`\Lambda_{kk} = -\partial_k \log p(\theta) / \theta_k` is the one that expectation-maximisation finds for a
    scale mixture of Gaussians; for a Gaussian it is exact.

    Parameters
    ----------
    model : Model
        An evidence model.
    names : list of str
        Its random parameters.
    point : dict of str to Tensor
        Trained values.
    frames : float
        Number N of effectively independent frames.
    seed : int
    rank : int
        Largest number of informed directions that are kept.

    Raises
    ------
    ModelError
        The model has no random parameters, no evidence, or a prior that is not centred at zero.

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, J. Chem. Phys. 150, 024109 (2019), section II.D (diagonal Hessian there).
    MacKay, "Bayesian interpolation", Neural Comput. 4, 415 (1992), eq. (4.8) for the effective number of parameters.
    """
    if not names or model.kind != "evidence":
        raise ModelError(
            f"uncertainty='laplace' needs a model of kind 'evidence' with random parameters; "
            f"{type(model).__name__} is of kind {model.kind!r} with {len(names)} of them. Use uncertainty='bootstrap'."
        )
    theta = {n: point[n] for n in names}
    rest = {k: v for k, v in point.items() if k not in theta}
    size = sum(v.numel() for v in theta.values())
    device = next(iter(theta.values())).device
    count = min(max(4 * size, 1000), 2048)
    with seeded(seed, device), functional_random():
        x = call_with(model, point, lambda m: generate(m, names, count))

        def score(xi: Tensor) -> Params:
            return grad(lambda t: log_marginal(model, names, {**rest, **t}, {"x": xi[None]}, particles=64)[0])(theta)

        scores = torch.cat([_flat(over(score)(c), names, len(c)) for c in x.split(64)])
        # it is the same on both sides of zero, where the quotient has no value
        away = {n: torch.where(v.abs() > _TINY, v, _TINY) for n, v in theta.items()}
        prior = grad(lambda t: call_with(model, {**rest, **t}, lambda m: _log_prior(m, names, x[:1])))(away)
    for name, value in prior.items():
        if not (value * away[name] < 0).all():
            raise ModelError(
                f"the prior of {name!r} does not hold all values near zero, as uncertainty='laplace' needs: centre it "
                "(bayescg.nets.gaussian, ard), or use uncertainty='bootstrap'"
            )
    precision = -_flat({n: prior[n] / away[n] for n in names}, names, 1)[0]
    informed = (scores * precision.rsqrt()).double() * math.sqrt(frames / count)
    _, s, basis = torch.linalg.svd(informed, full_matrices=False)
    s, basis = s[:rank], basis[:rank]
    # the trained noise is too small by what the data spent on determining parameters, as a residual sum of squares is
    spent = float((s**2 / (1 + s**2)).sum()) / (frames * x[0].numel())
    s = s * max(1 - spent, 0.5) ** 0.5
    tensors = {
        "sd": precision.rsqrt(),
        "basis": basis.T.to(precision.dtype).contiguous(),
        "shrink": (1 - (1 + s**2).rsqrt()).to(precision.dtype),
    }
    return Posterior("laplace", point, tensors, tuple(names))


def _log_prior(model: Model, names: list[str], x: Tensor) -> Tensor:
    proposal = lambda b: (point_guide(model, names), model.guide(b))  # noqa: E731
    _, modelled, _, trace = run_pair(model.model, proposal, Batch(x=x, total=1))
    trace.compute_log_prob(site_filter=lambda name, _: name in names)
    return torch.stack([modelled[n]["log_prob"].sum() for n in names]).sum()


def _flat(values: Params, names: list[str], rows: int) -> Tensor:
    return torch.cat([values[n].reshape(rows, -1) for n in names], 1)
