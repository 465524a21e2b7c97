"""A Gaussian around the trained values, as wide as prior and data leave it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad

from bayescg.errors import ModelError
from bayescg.inference.informed_directions import by_training_frames, flat, scores_of_generated_frames, unbiased
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, point_guide
from bayescg.modelling.traces import run_pair
from bayescg.recording.functional import Params, call_with, functional_random, seeded

__all__ = ["conditioning", "laplace"]

_TINY = 1e-4


Data = tuple[int, Callable[[Tensor], Params]]
"""Number of frames trained on, and fields of a `Batch` of some of them."""


def laplace(
    model: Model,
    names: list[str],
    point: Params,
    frames: float,
    seed: int,
    data: Data | None = None,
) -> Posterior:
    r"""Laplace approximation at the trained values: precision :math:`\Lambda + N F`.

    F is the expected Fisher information of one frame. Where the model says what frames tell of its parameters
    (`Model.information`), N F is that of the frames it was trained on. Elsewhere F is the second moment of the score of
    frames that the model itself generates, each score with the latent variables integrated out by importance weights,
    and the trained noise is freed of what the data spent on parameters. The prior's precision
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
    data : (int, callable), optional
        How many frames it was trained on, and a function from indices to the fields of a `Batch` of them.

    Raises
    ------
    ModelError
        The model has no random parameters, no evidence, or a prior that is not centred at zero.

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, J. Chem. Phys. 150, 024109 (2019), section II.D (diagonal Hessian there).
    MacKay, "Bayesian interpolation", Neural Comput. 4, 415 (1992), eq. (4.8) for the effective number of parameters.
    """
    states = data is not None and type(model).information is not Model.information
    if not names or not (states or model.kind == "evidence"):
        raise ModelError(
            f"uncertainty='laplace' needs a model of kind 'evidence', or with `information`, and random parameters; "
            f"{type(model).__name__} is of kind {model.kind!r} with {len(names)} of them. Use uncertainty='bootstrap'."
        )
    device = next(iter(point.values())).device
    with seeded(seed, device), functional_random():
        if not states or data is None:
            scores, x = scores_of_generated_frames(model, names, point)
            precision = _prior_precision(model, names, point, {"x": x[:1]})
            sd = precision.rsqrt()
            informed = (scores * sd).double() * math.sqrt(frames / len(scores))
            _, s, basis = torch.linalg.svd(informed, full_matrices=False)
            s = s * unbiased(torch.cat([s**2, s.new_zeros(len(scores) - len(s))])) ** 0.5
            # the trained noise is too small by what the data spent on parameters, as a residual sum of squares is
            spent = float((s**2 / (1 + s**2)).sum()) / (frames * x[0].numel())
            s = s * max(1 - spent, 0.5) ** 0.5
        else:
            count, batch = data
            precision = _prior_precision(model, names, point, batch(torch.zeros(1, dtype=torch.int64)))
            s, basis, sd = by_training_frames(model, names, point, precision.rsqrt(), count, batch)
    tensors = {
        "sd": sd,
        "basis": basis.T.to(precision.dtype).contiguous(),
        "shrink": (1 - (1 + s**2).rsqrt()).to(precision.dtype),
    }
    return Posterior("laplace", point, tensors, tuple(names))


def _prior_precision(model: Model, names: list[str], point: Params, tensors: Params) -> Tensor:
    """Of each random parameter, ``(size,)``; `tensors` are fields of a batch of one frame, of which it is independent.

    Raises
    ------
    ModelError
        The prior is not centred at zero.
    """
    theta, rest = {n: point[n] for n in names}, {k: v for k, v in point.items() if k not in names}

    def log_prior(m: Model) -> Tensor:
        proposal = lambda b: (point_guide(m, names), m.guide(b))  # noqa: E731
        _, modelled, _, trace = run_pair(m.model, proposal, Batch(**tensors, total=1))
        trace.compute_log_prob(site_filter=lambda name, _: name in names)
        return torch.stack([modelled[n]["log_prob"].sum() for n in names]).sum()

    # it is the same on both sides of zero, where the quotient has no value
    away = {n: torch.where(v.abs() > _TINY, v, _TINY) for n, v in theta.items()}
    prior = grad(lambda t: call_with(model, {**rest, **t}, log_prior))(away)
    for name, value in prior.items():
        if not (value * away[name] < 0).all():
            raise ModelError(
                f"the prior of {name!r} does not hold all values near zero, as uncertainty='laplace' needs: centre it "
                "(bayescg.nets.gaussian, ard), or use uncertainty='bootstrap'"
            )
    return -flat({n: prior[n] / away[n] for n in names}, names, 1)[0]


def conditioning(posterior: Posterior) -> dict[str, float]:
    """How well the data determine the parameters of a Laplace posterior, each in the unit of its prior.

    Returns
    -------
    dict
        ``parameters``, how many; ``determined``, how many of them the data determine rather than the prior (MacKay's
        effective number); ``least_gain`` and ``largest_gain``, by what factor the data narrow the prior along the
        direction of which they tell least, and most: 1 is a flat direction, such as a gauge that nothing pins.
    """
    narrowed = 1 - posterior.tensors["shrink"].double()
    parameters = len(posterior.tensors["sd"])
    return {
        "parameters": parameters,
        "determined": float((1 - narrowed.square()).sum()),
        "least_gain": float(1 / narrowed.max()) if len(narrowed) == parameters else 1.0,
        "largest_gain": float(1 / narrowed.min()),
    }
