"""Draws of a model that queries a system, with importance weights, and what those weights teach it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from pyro import poutine
from torch import Tensor

from bayescg.inference.batch import Batch
from bayescg.inference.functional import Params, call_with, seeded
from bayescg.inference.model import Model, point_guide
from bayescg.inference.traces import is_local, run_pair, sites
from bayescg.systems.core import System

__all__ = ["Draws", "HasSystem", "draw", "log_generated", "log_physics", "wake"]

_CHUNK = 20_000
"""Draws at a time; a multiple of any usual number of components, so that each chunk is stratified alike."""


@runtime_checkable
class HasSystem(Protocol):
    """Models that learn from the energies of a system in place of frames."""

    system: System

    def positions(self, x: Tensor) -> Tensor:
        """Positions of generated values of the site ``"x"``."""
        ...


@dataclass(frozen=True)
class Draws:
    r"""What the guide proposed, and how much of the target each draw stands for.

    Attributes
    ----------
    x : Tensor, shape (n, dim)
        Values of the site ``"x"``.
    log_weight : Tensor, shape (n,)
        :math:`\log p(x) r(z \mid x) - \log q(x, z)`, p unnormalised: without the draws' shares.
    log_share : Tensor, shape (n,)
        How often each draw counts in an average over the guide, whose draws are stratified; 0 where they are not.
    log_target : Tensor, shape (n,)
        What the inverse temperature of the draw multiplies in its log density: that of the site ``"x"``, and of sites
        whose names begin with ``"tempered_"``.
    """

    x: Tensor
    log_weight: Tensor
    log_share: Tensor
    log_target: Tensor

    @property
    def log_importance(self) -> Tensor:
        """Log weights of averages over the target."""
        return self.log_share + self.log_weight


def draw(model: Model, names: list[str], params: Params, count: int, seed: int) -> Draws:
    """Weighted draws of a model without frames.

    Parameters
    ----------
    model : Model
    names : list of str
        Its random parameters.
    params : dict of str to Tensor
        Values of all parameters and buffers.
    count : int
        Energies that are computed.
    seed : int
    """
    device = next(iter(params.values())).device
    parts = []
    with seeded(seed, device), torch.no_grad():
        for start in range(0, count, _CHUNK):
            index = torch.arange(start, min(start + _CHUNK, count), device=device)
            parts.append(call_with(model, params, _draw, names, index))
    return Draws(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _draw(model: Model, names: list[str], index: Tensor) -> tuple[Tensor, ...]:
    batch = Batch(total=len(index), index=index)
    proposed, found, *traces = run_pair(model.model, lambda b: (point_guide(model, names), model.guide(b)), batch)
    for trace in traces:
        trace.compute_log_prob()
    x = found["x"]
    log_target = sum(s["unscaled_log_prob"] for k, s in found.items() if k == "x" or k.startswith("tempered_"))
    log_share = torch.as_tensor(x["scale"], device=index.device).log().expand(len(index))
    return x["value"], _log_weight(proposed, found), log_share, torch.as_tensor(log_target)


def wake(guide: Callable[[Batch], Any], batch: Batch, proposed: dict[str, Any], found: dict[str, Any]) -> Tensor:
    r"""Divergence from the target to the guide, up to a constant, by the batch's own self-normalised weights.

    :math:`-\sum_b \bar w_b \log q(x_b, z_b)` with draws and weights held fixed: where the guide has too little mass, it
    is pulled. Its value is zero, so that the loss keeps meaning a bound; its gradient is not.

    Parameters
    ----------
    guide : callable
    batch : Batch
    proposed, found : dict
        The sites of guide and model, their log densities computed.

    References
    ----------
    Bornschein, Bengio, "Reweighted wake-sleep", ICLR 2015.
    """
    share = torch.as_tensor(found["x"]["scale"]).detach()
    weight = torch.softmax(_log_weight(proposed, found).detach() + share.log(), 0)
    held = {name: site["value"].detach() for name, site in proposed.items() if is_local(site)}
    again = poutine.trace(poutine.condition(guide, data=held)).get_trace(batch)
    again.compute_log_prob()
    local = [site["unscaled_log_prob"] for name, site in sites(again).items() if name in held]
    loss = -(weight * torch.stack(local).sum(0)).sum()
    return loss - loss.detach()


def _log_weight(proposed: dict[str, Any], found: dict[str, Any]) -> Tensor:
    """Log density of the model minus that of the guide, of each draw."""
    gains = [s["unscaled_log_prob"] for s in found.values() if is_local(s)]
    costs = [s["unscaled_log_prob"] for s in proposed.values() if is_local(s)]
    return torch.stack(gains).sum(0) - torch.stack(costs).sum(0)


def log_generated(model: Model, x: Tensor, particles: int) -> Tensor:
    r"""Log density of the generator at configurations, ``(B,)``: :math:`\log \frac1K \sum_k q(x, z_k) / r(z_k | x)`.

    Values of z come from the reverse map r. As a logarithm it is on average too low, by little with many `particles`.

    Parameters
    ----------
    model : Model
        Without frames.
    x : Tensor, shape (B, dim)
    particles : int
    """
    with torch.random.fork_rng(devices=[]):
        probe = sites(poutine.trace(poutine.condition(model.model, data={"x": x[:1]})).get_trace(Batch(total=1)))
    if all(site["is_observed"] for site in probe.values() if is_local(site)):
        particles = 1  # no latent variables: the density is exact
    wide = x.repeat_interleave(particles, 0)
    reverse = sites(poutine.trace(poutine.condition(model.model, data={"x": wide})).get_trace(Batch(total=len(wide))))
    held = {name: site["value"] for name, site in reverse.items() if is_local(site) and not site["is_observed"]}
    forward = poutine.trace(poutine.condition(model.guide, data={"x": wide, **held})).get_trace(Batch(total=len(wide)))
    gain = sum(s["fn"].log_prob(s["value"]) for s in sites(forward).values() if is_local(s))
    cost = sum(reverse[name]["fn"].log_prob(value) for name, value in held.items())
    return torch.logsumexp(torch.as_tensor(gain - cost).view(len(x), particles), 1) - math.log(particles)


def log_physics(model: Model, x: Tensor) -> Tensor:
    """Log density of the physics at configurations, up to a constant, ``(B,)``: Boltzmann factor and volume element.

    Parameters
    ----------
    model : Model
        Without frames.
    x : Tensor, shape (B, dim)
    """
    trace = poutine.trace(poutine.condition(model.model, data={"x": x})).get_trace(Batch(total=len(x)))
    trace.compute_log_prob(site_filter=lambda _, site: bool(site.get("is_observed")))
    given = [s["unscaled_log_prob"] for s in sites(trace).values() if s["is_observed"] and is_local(s)]
    return torch.stack(given).sum(0)
