"""Parameter uncertainty: what `bayescg.fit(uncertainty=)` can mean, for any model.

- ``"none"``: the trained values, no uncertainty;
- ``"mean-field"``: independent Gaussians for the random parameters, trained with the rest;
- ``"laplace"``: a Gaussian around the trained values, its precision the prior's plus the expected Fisher information;
- ``"ensemble"``: refits from different initial weights, each under its own random weights of the blocks of frames;
  of a model without frames, refits from different initial weights alone;
- ``"bootstrap"``: refits from the same initial weights, each under its own random weights of the blocks of frames.

The last two vary every parameter; the middle two only those that the model makes random.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_positive
from bayescg.errors import ConfigError, ModelError
from bayescg.modelling.model import Model, solves
from bayescg.recording.functional import Params, seeded

__all__ = ["CHOICES", "MEMBERS", "Posterior", "block_weights", "check_uncertainty"]

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

    def draw(self, draws: int | None = None, seed: int = 0) -> Params:
        """Draws of the parameters that vary, each ``(draws, ...)``; refits are used in turn.

        Parameters
        ----------
        draws : int, optional
            None: every refit once, else 200.
        seed : int
        """
        if draws is not None:
            check_counts(draws=(draws, 1))
        draws = draws or self.members or 200
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

    def some(self, draw: int | None, draws: int | None, seed: int, name: str) -> tuple[Params, int | None]:
        """Draw number `draw`, or `draws` at once, or none: parameters, each ``(rows, ...)``, and how many at once.

        Draw k is the same whichever way it is asked for.

        Raises
        ------
        ModelError
            There is no parameter uncertainty, in this fit of a model of this name.
        ConfigError
            Both are given, or there are not so many refits.
        """
        if draw is not None and draws is not None:
            raise ConfigError("give draw=, the number of one draw, or draws=, how many at once: not both")
        if draw is None and draws is None:
            return {}, None
        if self.kind == "none":
            raise ModelError(
                f"this fit of {name} has no parameter uncertainty, so no draws: fit it with uncertainty='laplace' or "
                "'bootstrap'"
            )
        check_counts(**({"draw": (draw, 0)} if draws is None else {"draws": (draws, 1)}))
        last = (draw if draws is None else draws - 1) or 0
        if self.members is not None and last >= self.members:
            which = f"draw={draw}" if draws is None else f"draws={draws}"
            raise ConfigError(f"{which}, but there are {self.members} refits, numbered from 0")
        many = self.draw(self.members or max(200, last + 1), seed)
        varying = {k: v[last : last + 1] if draws is None else v[:draws] for k, v in many.items()}
        return {k: v.clone() for k, v in varying.items()}, draws

    def tempered(self, eta: float) -> "Posterior":
        r"""Of a Laplace posterior, as if the data had counted `eta` times: precision :math:`\Lambda + \eta N F`.

        Where the data say nothing, the prior's width stays.

        Raises
        ------
        ModelError
            It is no Laplace posterior.
        """
        check_positive(eta=eta)
        if self.kind != "laplace":
            raise ModelError(f"a posterior of kind {self.kind!r} has no precision to be scaled: use 'laplace'")
        left = (1.0 - self.tensors["shrink"].double()).square()  # 1 / (1 + s^2) of each informed direction
        left = left / (left + eta * (1.0 - left))
        shrink = (1.0 - left.sqrt()).to(self.tensors["shrink"])
        return replace(self, tensors={**self.tensors, "shrink": shrink})


def block_weights(blocks: Tensor, members: int, seed: int, share: float | None = None) -> Tensor:
    r"""Random weights of frames, equal within a block: Dirichlet over blocks, mean 1, ``(members, n)``.

    Blocks, not frames, are exchangeable where frames are correlated. With concentrations of 1 this is the Bayesian
    bootstrap, under whose weights a mean varies (n - 1)/(n + 1) times as much as the n blocks' spread says. Where these
    show a known `share` of the variance, the concentrations are :math:`((n - 1)\,\text{share} - 1)/n`, with which a
    mean varies as it should.

    Parameters
    ----------
    blocks : Tensor
        Block number of every frame, ``(n,)``.
    members : int
    seed : int
    share : float, optional
        Of the variance of a mean that independent blocks of this length show.

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
    shape = 1.0 if share is None else max(((count - 1) * share - 1) / count, 0.05)
    raw = torch.as_tensor(np.random.default_rng(seed).standard_gamma(shape, (members, count)))
    weights = raw[:, block]
    return (weights / weights.mean(1, keepdim=True)).float()


def check_uncertainty(choice: str, model: Model, names: list[str]) -> None:
    """Refuse an uncertainty that the model cannot have.

    Raises
    ------
    ModelError
    """
    if choice in ("mean-field", "laplace") and not names:
        raise ModelError(
            f"uncertainty={choice!r} needs parameters that the model samples (bayescg.nets.random_net); "
            f"{type(model).__name__} samples none. Use 'ensemble' or 'bootstrap'."
        )
    if choice == "mean-field" and solves(model):
        raise ModelError(
            f"uncertainty='mean-field' trains widths step by step, and {type(model).__name__} solves for its "
            "parameters in closed form: use uncertainty='laplace', which is exact where the likelihood is linear"
        )
