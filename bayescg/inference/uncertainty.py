"""Parameter uncertainty: what `bayescg.fit(uncertainty=)` can mean, for any model.

``"none"``        the trained values, no uncertainty;
``"mean-field"``  independent Gaussians for the random parameters, trained with the rest;
``"laplace"``     a Gaussian around the trained values, its precision the prior's plus the expected Fisher information;
``"ensemble"``    refits from different initial weights, each under its own random weights of the blocks of frames;
                  of a model without frames, refits from different initial weights alone;
``"bootstrap"``   refits from the same initial weights, each under its own random weights of the blocks of frames.

The last two vary every parameter; the middle two only those that the model makes random.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import grad

from bayescg.errors import ConfigError, ModelError
from bayescg.inference.generation import generate
from bayescg.inference.objectives import log_marginal
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, point_guide
from bayescg.modelling.traces import run_pair
from bayescg.recording.functional import Params, call_with, functional_random, over, seeded

__all__ = ["CHOICES", "MEMBERS", "Posterior", "block_weights", "check_choice", "laplace"]

CHOICES = ("none", "mean-field", "laplace", "ensemble", "bootstrap")
MEMBERS = ("ensemble", "bootstrap")


@dataclass(frozen=True)
class Posterior:
    """Distribution over the parameters of a fitted model.

    Attributes
    ----------
    kind : str
        One of `CHOICES`.
    point : dict of str to Tensor
        The trained value of every parameter and buffer.
    tensors : dict of str to Tensor
        ``mean-field``: log standard deviations; ``laplace``: `sd`, `basis`, `shrink` over the flattened random
        parameters; ``ensemble``, ``bootstrap``: parameters with a leading axis of members.
    names : tuple of str
        The model's random parameters.
    """

    kind: str
    point: Params
    tensors: Params = field(default_factory=dict)
    names: tuple[str, ...] = ()

    @property
    def members(self) -> int | None:
        """Number of refits, or None where draws are unlimited."""
        return len(next(iter(self.tensors.values()))) if self.kind in MEMBERS else None

    def draw(self, draws: int, seed: int = 0) -> Params:
        """Draws of the parameters that vary, each ``(draws, ...)``; refits are used in turn.

        Parameters
        ----------
        draws : int
        seed : int
        """
        if self.kind == "none":
            return {}
        if self.members is not None:
            index = torch.arange(draws) % self.members
            return {k: v[index.to(v.device)] for k, v in self.tensors.items()}
        device = next(iter(self.point.values())).device
        with seeded(seed, device):
            if self.kind == "mean-field":
                # in the order of the names: a file gives the tensors back in another one
                return {
                    k: self.point[k]
                    + self.tensors[k].exp() * torch.randn(draws, *p.shape, device=device, dtype=p.dtype)
                    for k, p in ((k, self.point[k]) for k in self.names)
                }
            sd, basis, shrink = (self.tensors[k] for k in ("sd", "basis", "shrink"))
            noise = torch.randn(draws, len(sd), device=device, dtype=sd.dtype)
            step = sd * (noise - (noise @ basis * shrink) @ basis.T)
        flat = torch.cat([self.point[n].flatten() for n in self.names]) + step
        parts = flat.split([self.point[n].numel() for n in self.names], dim=1)
        return {n: p.reshape(draws, *self.point[n].shape) for n, p in zip(self.names, parts, strict=True)}

    def scaled(self, factor: float) -> "Posterior":
        """The same posterior with every standard deviation multiplied by `factor`; 0.5 makes an over-confident one."""
        if self.kind == "none":
            return self
        if self.kind == "mean-field":
            tensors = {k: v + math.log(factor) for k, v in self.tensors.items()}
        elif self.kind == "laplace":
            tensors = {**self.tensors, "sd": self.tensors["sd"] * factor}
        else:
            tensors = {k: v.mean(0) + factor * (v - v.mean(0)) for k, v in self.tensors.items()}
        return Posterior(self.kind, self.point, tensors, self.names)


def block_weights(blocks: Tensor, members: int, seed: int) -> Tensor:
    """Random weights of frames, equal within a block: Dirichlet(1, ..., 1) over blocks, mean 1, ``(members, n)``.

    Blocks, not frames, are exchangeable where frames are correlated. This is the Bayesian bootstrap.

    Parameters
    ----------
    blocks : Tensor
        Block number of every frame, ``(n,)``.
    members : int
    seed : int

    References
    ----------
    Rubin, "The Bayesian bootstrap", Ann. Statist. 9, 130 (1981).

    Examples
    --------
    >>> w = block_weights(torch.tensor([0, 0, 1, 1]), members=3, seed=0)
    >>> w.shape, bool((w[:, 0] == w[:, 1]).all())
    (torch.Size([3, 4]), True)
    """
    _, block = torch.unique(blocks, return_inverse=True)
    count = int(block.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    raw = -torch.log(torch.rand(members, count, generator=generator, dtype=torch.float64).clamp_min(1e-300))
    weights = raw[:, block]
    return (weights / weights.mean(1, keepdim=True)).float()


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
        The model has no random parameters, or no evidence.

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
        prior = _flat(
            grad(lambda t: call_with(model, {**rest, **t}, lambda m: _log_prior(m, names, x[:1])))(theta),
            names,
            1,
        )[0]
    flat = torch.cat([v.flatten() for v in theta.values()])
    tiny = 1e-4 * torch.ones_like(flat)
    precision = (-prior / torch.where(flat.abs() > tiny, flat, tiny)).clamp_min(1e-6)
    informed = (scores * precision.rsqrt()).double() * math.sqrt(frames / count)
    _, s, basis = torch.linalg.svd(informed, full_matrices=False)
    s, basis = s[:rank], basis[:rank]
    # the trained noise is too small by what the data spent on determining parameters, as a residual sum of squares is
    spent = float((s**2 / (1 + s**2)).sum()) / (frames * x[0].numel())
    s = s * max(1 - spent, 0.5) ** 0.5
    tensors = {
        "sd": precision.rsqrt(),
        "basis": basis.T.to(flat.dtype).contiguous(),
        "shrink": (1 - (1 + s**2).rsqrt()).to(flat.dtype),
    }
    return Posterior("laplace", point, tensors, tuple(names))


def check_choice(choice: str, model: Model, names: list[str]) -> None:
    """Refuse an uncertainty that is unknown, or that the model cannot have.

    Raises
    ------
    ConfigError, ModelError
    """
    if choice not in CHOICES:
        raise ConfigError(f"uncertainty={choice!r} is not known; use one of {', '.join(CHOICES)}")
    if choice in ("mean-field", "laplace") and not names:
        raise ModelError(
            f"uncertainty={choice!r} needs parameters that the model samples (bayescg.nets.random_net); "
            f"{type(model).__name__} samples none. Use 'ensemble' or 'bootstrap'."
        )


def _log_prior(model: Model, names: list[str], x: Tensor) -> Tensor:
    proposal = lambda b: (point_guide(model, names), model.guide(b))  # noqa: E731
    _, modelled, _, trace = run_pair(model.model, proposal, Batch(x=x, total=1))
    trace.compute_log_prob(site_filter=lambda name, _: name in names)
    return torch.stack([modelled[n]["log_prob"].sum() for n in names]).sum()


def _flat(values: Params, names: list[str], rows: int) -> Tensor:
    return torch.cat([values[n].reshape(rows, -1) for n in names], 1)
