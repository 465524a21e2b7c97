"""Weighted draws of a model that queries a system, and log densities of its generator and of its physics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from bayescg.distributions import Boltzmann, StratifiedLattice, StratifiedMixture
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, point_guide
from bayescg.modelling.schedules.weighted import Draws, log_weights_of
from bayescg.modelling.traces import is_local, run_pair, sites
from bayescg.recording.functional import Params, call_with, seeded

__all__ = ["draw", "log_generated", "log_physics"]

_CHUNK = 4096
"""Draws at a time, whose splines stay in the cache; a multiple of usual numbers of components: stratified alike."""


def draw(
    model: Model, names: list[str], params: Params, count: int, seed: int, particles: int = 1, stage: str = ""
) -> Draws:
    r"""Weighted draws of a model without frames.

    A draw x came with a z. Its weight is right on average with the density of the two, :math:`q(x, z) / r(z \mid x)` in
    place of q(x), but uneven wherever the reverse map r is not exact. With more `particles` the density is the mean
    :math:`\hat q(x) = \frac1K \sum_k q(x, z_k) / r(z_k \mid x)` over that z and K - 1 others drawn from r: right on
    average for every K, and the more even, the nearer to :math:`p(x) / q(x)`, the larger K. No energy is computed for
    it. A share is then, likewise, that of all draws at x: how much denser q is there than the rows, which hold all
    components in equal number.

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
    particles : int
        K; without effect where there are no latent variables, and the density is exact, or several sites of them.
    stage : str
        Of a fit that is under way.

    References
    ----------
    A. Sobolev, D. Vetrov, "Importance weighted hierarchical variational inference", NeurIPS 2019, where the same mean
    bounds the density. Shares: E. Veach, L. Guibas, "Optimally combining sampling techniques for Monte Carlo
    rendering", SIGGRAPH 1995, the balance heuristic.
    """
    device = next(iter(params.values())).device
    parts = []
    with seeded(seed, device), torch.no_grad():
        for start in range(0, count, _CHUNK):
            index = torch.arange(start, min(start + _CHUNK, count), device=device)
            parts.append(call_with(model, params, _draw, names, index, particles, stage))
    return Draws(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _draw(model: Model, names: list[str], index: Tensor, particles: int, stage: str) -> tuple[Tensor, ...]:
    batch = Batch(total=len(index), index=index, stage=stage)

    def guide(b: Batch) -> None:
        point_guide(model, names)
        model.guide(b)

    proposed, target, *traces = run_pair(model.model, guide, batch)
    for trace in traces:
        trace.compute_log_prob()
    x = target["x"]
    log_target = x["unscaled_log_prob"]
    if isinstance(x["fn"], Boltzmann):
        log_target = log_target - x["fn"].untempered(x["value"])
    log_share = torch.as_tensor(x["scale"], device=index.device).log().expand(len(index))
    log_weight = log_weights_of(proposed, target)
    if isinstance(proposed["x"]["fn"], StratifiedLattice):
        log_share = proposed["x"]["unscaled_log_prob"] - proposed["x"]["fn"].log_prob_of_rows(x["value"])
    latent = [name for name, site in proposed.items() if is_local(site) and name != "x"]
    if particles > 1 and len(latent) == 1:
        joint, log_q, log_rows = _densities(guide, batch, latent[0], target, particles)
        log_weight = log_weight + joint - log_q
        log_share = log_share if log_rows is None else log_q - log_rows
    return x["value"], log_weight, log_share, log_target


def _densities(
    guide: Callable[[Batch], Any], batch: Batch, latent: str, target: dict[str, Any], particles: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Log densities of draws: with their own latent variables, averaged over these, and of all rows if stratified."""
    reverse, held = target[latent]["fn"], {name: site["value"] for name, site in target.items() if is_local(site)}
    log_q, log_rows = [], []
    for k in range(particles):
        z = target[latent]["value"] if k == 0 else reverse.sample()
        again = sites(poutine.trace(poutine.condition(guide, data={**held, latent: z})).get_trace(batch))
        prior, log_ratio = again[latent]["fn"], again["x"]["fn"].log_prob(held["x"]) - reverse.log_prob(z)
        log_q.append(log_ratio + prior.log_prob(z))
        mixture = getattr(prior, "base_dist", prior)  # what the plate has expanded
        if isinstance(mixture, StratifiedMixture):
            log_rows.append(log_ratio + mixture.log_prob_of_rows(z))
    return log_q[0], _log_mean(log_q), _log_mean(log_rows) if log_rows else None


def _log_mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).logsumexp(0) - math.log(len(values))


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
    factors = [s["unscaled_log_prob"] for s in sites(trace).values() if s["is_observed"] and is_local(s)]
    return torch.stack(factors).sum(0)
