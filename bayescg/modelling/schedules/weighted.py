"""Draws with importance weights, and what those weights can teach a guide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from bayescg.modelling.batch import Batch
from bayescg.modelling.traces import is_local, sites

__all__ = ["Draws", "log_weights_of", "wake"]


@dataclass(frozen=True)
class Draws:
    r"""What the guide proposed, and how much of the target each draw stands for.

    Attributes
    ----------
    x : Tensor, shape (n, dim)
        Values of the site ``"x"``.
    log_weight : Tensor, shape (n,)
        :math:`\log p(x) - \log \hat q(x)`, p unnormalised, without the draws' shares; see
        ``bayescg.modelling.schedules.importance.draw`` for :math:`\hat q`.
    log_share : Tensor, shape (n,)
        How often each draw counts in an average over the guide, whose draws are stratified; 0 where they are not.
    log_target : Tensor, shape (n,)
        The part of the log density of x that the inverse temperature multiplies, times that
        (:class:`bayescg.distributions.Boltzmann`); all of it, of a target without one.
    """

    x: Tensor
    log_weight: Tensor
    log_share: Tensor
    log_target: Tensor

    @property
    def log_importance(self) -> Tensor:
        """Log weights of averages over the target."""
        return self.log_share + self.log_weight


def log_weights_of(proposed: dict[str, Any], target: dict[str, Any]) -> Tensor:
    """Log density of the model minus that of the guide, of each draw, from their sites."""
    gains = [s["unscaled_log_prob"] for s in target.values() if is_local(s)]
    costs = [s["unscaled_log_prob"] for s in proposed.values() if is_local(s)]
    return torch.stack(gains).sum(0) - torch.stack(costs).sum(0)


def wake(guide: Callable[[Batch], Any], batch: Batch, proposed: dict[str, Any], target: dict[str, Any]) -> Tensor:
    r"""Divergence from the target to the guide, up to a constant, by the batch's own self-normalised weights.

    :math:`-\sum_b \bar w_b \log q(x_b, z_b)` with draws and weights held fixed: where the guide has too little mass, it
    is pulled. Its value is zero, so that the loss keeps meaning a bound; its gradient is not.

    Parameters
    ----------
    guide : callable
    batch : Batch
    proposed, target : dict
        The sites of guide and model, their log densities computed.

    References
    ----------
    Bornschein, Bengio, "Reweighted wake-sleep", ICLR 2015.
    """
    share = torch.as_tensor(target["x"]["scale"]).detach()
    weight = torch.softmax(log_weights_of(proposed, target).detach() + share.log(), 0)
    held = {name: site["value"].detach() for name, site in proposed.items() if is_local(site)}
    again = poutine.trace(poutine.condition(guide, data=held)).get_trace(batch)
    again.compute_log_prob()
    local = [site["unscaled_log_prob"] for name, site in sites(again).items() if name in held]
    loss = -(weight * torch.stack(local).sum(0)).sum()
    return loss - loss.detach()
