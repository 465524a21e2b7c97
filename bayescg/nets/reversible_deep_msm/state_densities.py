"""Where each of a few states lands: one flow over configurations, conditioned on the state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, constraints

from bayescg.nets.reversible_deep_msm.reversible_kernel import log_score
from bayescg.nets.spline_flow import BOUND, SplineFlow, evening_knots

__all__ = ["StateDensities", "StateMixture"]


class StateDensities(nn.Module):
    r"""Densities :math:`q_j` of configurations, one for each state, and the reversible kernel that they make.

    With a symmetric joint Y of row sums c, the density of a pair, of a frame, and of a frame after another are

    .. math:: p(x, y) = \sum_{ij} Y_{ij} q_i(x) q_j(y), \qquad \mu(x) = \sum_i c_i q_i(x), \qquad
              p(y \mid x) = \sum_{ij} \frac{c_i q_i(x)}{\mu(x)} \frac{Y_{ij}}{c_i} q_j(y)

    Each begins as the Gaussian of a cluster of configurations, and as its distribution of each angle, by `begin`, to
    which `reset_parameters` goes back; the flow bends it. A rare state would be long in finding its angles: of few
    batches it is more than a frame or two.

    Parameters
    ----------
    states, size : int
        Of configurations, how many coordinates they have.
    coordinates : UnboundedCoordinates, optional
        What the coordinates are, of which some are angles.
    layers, bins : int
    hidden : sequence of int
        Of :class:`bayescg.nets.SplineFlow`.

    Examples
    --------
    >>> densities = StateDensities(2, 3, layers=2, bins=4, hidden=(8,))
    >>> joint = torch.tensor([[0.5, 0.1], [0.1, 0.3]])
    >>> x = densities.equilibrium(joint).sample((7,))
    >>> densities.transition(x, joint).sample().shape, densities.log_prob(x).shape
    (torch.Size([7, 3]), torch.Size([7, 2]))
    """

    each: Tensor
    start: Tensor
    start_turned: Tensor

    def __init__(
        self,
        states: int,
        size: int,
        coordinates: Any = None,
        *,
        layers: int,
        bins: int,
        hidden: Sequence[int],
    ):
        super().__init__()
        soft = [] if coordinates is None else coordinates.get_buffer("soft").tolist()
        self.flow = SplineFlow([i in soft for i in range(size)], layers, bins, hidden, context=states)
        self.register_buffer("each", torch.eye(states), persistent=False)
        self.register_buffer("start", torch.zeros(2, states, size))
        self.place = nn.Parameter(torch.zeros(2, states, size))
        if soft:
            self.register_buffer("start_turned", torch.zeros(states, len(soft), 3 * bins - 1))
            self.turned = nn.Parameter(torch.zeros(states, len(soft), 3 * bins - 1))

    def begin(self, x: Tensor, member: Tensor) -> None:
        """Take centre and width of each state from configurations ``(n, size)`` of so much of it, ``(n, states)``."""
        weight = (member / member.sum(0)).T
        centre = weight @ x
        width = (weight @ x.square() - centre.square()).clamp_min(1e-12).sqrt()
        still = self.flow.circular | (width < 1e-6)
        self.start.copy_(torch.stack([centre.where(~self.flow.circular, 0.0), width.where(~still, 1.0).log()]))
        for number, column in enumerate((BOUND * torch.erf(x[:, self.flow.circular] / math.sqrt(2))).T):
            for state, counting in enumerate(weight):
                self.start_turned[state, number] = evening_knots(column, counting, (self.turned.shape[-1] + 1) // 3)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Put centres, widths and angles back where they began."""
        with torch.no_grad():
            self.place.copy_(self.start)
            if self.flow.turns:
                self.turned.copy_(self.start_turned)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log q_j(x), ``(..., states)`` for configurations ``(..., size)``."""
        return self._of(self.each, x.unsqueeze(-2))

    def _of(self, states: Tensor, x: Tensor) -> Tensor:
        centre, log_width = self._placed(states)
        return self._flowing(states).log_prob((x - centre) / log_width.exp()) - log_width.sum(-1)

    def _flowing(self, states: Tensor) -> Any:
        if not self.flow.turns:
            return self.flow(states)
        return self.flow(states, first=(states @ self.turned.flatten(1)).unflatten(-1, self.turned.shape[1:]))

    def _placed(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Centres and log widths of states ``(..., states)``, each a row of zeros and a one."""
        centre, log_width = (torch.where(self.flow.circular, 0.0, states @ part) for part in self.place)
        return centre, log_width

    def draw(self, state: Tensor) -> Tensor:
        """A configuration of each state ``(...)``."""
        centre, log_width = self._placed(self.each[state])
        return centre + log_width.exp() * self._flowing(self.each[state])()

    def of_drawn(self, member: Tensor, x: Tensor, most: int = 128) -> Tensor:
        """Log q_j(x), ``(n,)``, of a state j that is drawn from its probabilities ``(n, states)``.

        It is computed of the first `most`, which stand for all, and zero of the others: jumps of rare states need large
        batches, densities do not.
        """
        few = min(most, len(x))
        even = torch.rand(few, 1, dtype=x.dtype, device=x.device)
        state = (even >= member[:few].cumsum(-1)[:, :-1]).sum(-1)
        evidence = self._of(self.each[state], x[:few])
        return torch.cat([len(x) / few * evidence, torch.zeros_like(member[few:, 0])])

    def log_pairs(self, x: Tensor, y: Tensor, log_joint: Tensor, relative: bool) -> Tensor:
        """Log p(x, y) of configurations ``(n, size)``, ``(n,)``, given log Y; `relative` to the product of their mu."""
        now, later = self.log_prob(x), self.log_prob(y)
        pairs = log_score(now, later, log_joint)
        if not relative:
            return pairs
        log_c = torch.logsumexp(log_joint, 1)
        return pairs - torch.logsumexp(log_c + now, -1) - torch.logsumexp(log_c + later, -1)

    def equilibrium(self, joint: Tensor) -> StateMixture:
        """Mu, of event shape ``(size,)``."""
        return StateMixture(self, joint.sum(1))

    def transition(self, x: Tensor, joint: Tensor) -> StateMixture:
        """p(y | x): batch shape ``(n,)``, event shape ``(size,)``, for configurations ``(n, size)``."""
        occupation = joint.sum(1)
        member = (occupation.log() + self.log_prob(x)).softmax(-1)
        return StateMixture(self, member @ (joint / occupation[:, None]))


class StateMixture(dist.TorchDistribution):
    """Configurations of states of given probabilities.

    Parameters
    ----------
    densities : StateDensities
    share : Tensor, shape (..., states)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, densities: StateDensities, share: Tensor):
        self.densities, self.state = densities, Categorical(share)
        super().__init__(share.shape[:-1], densities.start.shape[-1:], validate_args=False)

    @property
    def support(self) -> Any:
        """All of space."""
        return constraints.real_vector

    def expand(self, batch_shape: Any, _instance: Any = None) -> StateMixture:
        """The same distribution of more rows."""
        return StateMixture(self.densities, self.state.probs.expand(*batch_shape, -1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Configurations ``(*sample_shape, ..., size)``."""
        with torch.no_grad():
            return self.densities.draw(self.state.sample(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, ``(...)`` for ``(..., size)``."""
        return torch.logsumexp(self.state.logits + self.densities.log_prob(value), -1)
