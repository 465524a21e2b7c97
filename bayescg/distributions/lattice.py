"""Densities of a few variables on a lattice, and what they become where each node is a Gaussian of many coordinates."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["LatticeDensity", "LatticeMixture", "StratifiedLattice"]


class LatticeDensity(TorchDistribution):
    r"""Density of one or two variables, known up to a constant at the nodes of a lattice.

    Sums over the nodes are its integrals: of smooth functions that vanish at the ends the error falls faster than any
    power of the spacing. Draws are a continuous, differentiable function of the weights, by the inverse of the
    cumulative sums, between the nodes interpolated.

    Parameters
    ----------
    axis : Tensor, shape (nodes,)
        Evenly spaced, the same for every variable.
    logits : Tensor, shape (nodes ** dim,)
        Log density at the nodes, up to a constant; the last variable changes fastest.
    batch_shape : sequence of int

    Attributes
    ----------
    log_weights : Tensor, shape (nodes ** dim,)
        Log probabilities of the nodes.

    Examples
    --------
    >>> axis = torch.linspace(-6, 6, 101)
    >>> normal = LatticeDensity(axis, -0.5 * axis**2)
    >>> normal.variance, normal.expand((5,)).sample().shape
    (tensor([1.0000]), torch.Size([5, 1]))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, axis: Tensor, logits: Tensor, batch_shape: Any = ()):
        self.axis, self.log_weights = axis, torch.log_softmax(logits, -1)
        self.dim = round(math.log(len(logits)) / math.log(len(axis)))
        super().__init__(torch.Size(batch_shape), torch.Size((self.dim,)), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LatticeDensity:
        """The same density for every row of a batch."""
        return LatticeDensity(self.axis, self.log_weights, batch_shape)

    @property
    def support(self) -> Any:
        """All of space."""
        return constraints.real_vector

    @property
    def nodes(self) -> Tensor:
        """Variables at the nodes, ``(nodes ** dim, dim)``."""
        return torch.cartesian_prod(*[self.axis] * self.dim).reshape(-1, self.dim)

    @property
    def mean(self) -> Tensor:
        """Of each variable, ``(*batch_shape, dim)``."""
        return (self.log_weights.exp() @ self.nodes).expand(*self.batch_shape, -1)

    @property
    def variance(self) -> Tensor:
        """Of each variable, ``(*batch_shape, dim)``."""
        return self.log_weights.exp() @ (self.nodes - self.mean) ** 2

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the cells around the nodes, ``(...)`` for ``(..., dim)``; the same within each."""
        step = self.axis[1] - self.axis[0]
        cell = ((value - self.axis[0]) / step).round().long().clamp(0, len(self.axis) - 1)
        places = len(self.axis) ** torch.arange(self.dim - 1, -1, -1, device=value.device)
        return self.log_weights[(cell * places).sum(-1)] - self.dim * step.log()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws ``(*sample_shape, *batch_shape, dim)``."""
        shape = torch.Size(sample_shape) + self.batch_shape
        u = torch.rand(*shape, self.dim, dtype=self.log_weights.dtype, device=self.log_weights.device)
        table = self.log_weights.exp().reshape(-1, *[len(self.axis)] * (self.dim - 1))
        first = self._inverse(table.flatten(1).sum(1) if self.dim > 1 else table, u[..., 0])
        if self.dim == 1:
            return first.unsqueeze(-1)
        place = ((first - self.axis[0]) / (self.axis[1] - self.axis[0])).clamp(0, len(self.axis) - 1.001)
        row = place.floor().long()
        part = (place - row).unsqueeze(-1)
        rows = table / table.sum(1, keepdim=True).clamp_min(1e-30)
        second = self._inverse((1 - part) * rows[row] + part * rows[row + 1], u[..., 1])
        return torch.stack([first, second], -1)

    def _inverse(self, weights: Tensor, u: Tensor) -> Tensor:
        """Where the cumulative sums of weights ``(..., nodes)`` reach `u` of the whole."""
        above = weights.cumsum(-1)
        level = u * above[..., -1]
        if weights.dim() == 1:
            cell = torch.searchsorted(above.detach(), level.detach()).clamp_max(len(self.axis) - 1)
            here, top = weights[cell], above[cell]
        else:
            cell = torch.searchsorted(above.detach(), level.detach().unsqueeze(-1)).clamp_max(len(self.axis) - 1)
            here, top = (t.gather(-1, cell).squeeze(-1) for t in (weights, above))
            cell = cell.squeeze(-1)
        within = 0.5 - (top - level) / here.clamp_min(1e-30)
        return self.axis[cell] + (self.axis[1] - self.axis[0]) * within


class LatticeMixture(TorchDistribution):
    r"""Gaussians of one width, one at each node of a lattice: :math:`\sum_k w_k N(x; \mu_k, \mathrm{diag}\, s^2)`.

    That is :math:`\int p(X) N(x; \mu(X), \mathrm{diag}\, s^2) dX` to the accuracy of a sum over the nodes, which is
    good where `s` is no narrower than half of what lies between the means of two neighbours.

    Parameters
    ----------
    log_weights : Tensor, shape (nodes,)
        Log probabilities of the nodes.
    mean : Tensor, shape (nodes, size)
    sd : Tensor, shape (size,)
    batch_shape : sequence of int

    References
    ----------
    C. Bishop, M. Svensén, C. Williams, "GTM: the generative topographic mapping", Neural Comput. 10, 215 (1998), eq.
    (6), where all weights are alike.

    Examples
    --------
    >>> two = LatticeMixture(torch.tensor([0.5, 0.5]).log(), torch.tensor([[-1.0], [1.0]]), torch.ones(1))
    >>> two.log_prob(torch.zeros(3, 1))
    tensor([-1.4189, -1.4189, -1.4189])
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, log_weights: Tensor, mean: Tensor, sd: Tensor, batch_shape: Any = ()):
        self.log_weights, self.mean_of, self.sd = log_weights, mean, sd
        super().__init__(torch.Size(batch_shape), mean.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> LatticeMixture:
        """The same mixture for every row of a batch."""
        return LatticeMixture(self.log_weights, self.mean_of, self.sd, batch_shape)

    @property
    def support(self) -> Any:
        """All of space."""
        return constraints.real_vector

    def log_joint(self, value: Tensor) -> Tensor:
        """Log density of coordinates and node together, ``(..., nodes)`` for ``(..., size)``."""
        middle = self.log_weights.exp() @ self.mean_of  # of smaller numbers less is lost to rounding
        y, mean = (value - middle) / self.sd, (self.mean_of - middle) / self.sd
        nodes = self.log_weights - 0.5 * mean.square().sum(-1)
        rest = 0.5 * (y.square() + math.log(2 * math.pi)).sum(-1, keepdim=True) + self.sd.log().sum()
        return nodes + y @ mean.T - rest

    def behind(self, value: Tensor, nodes: Tensor) -> Normal:
        """Mean and width of the variables, which at the nodes are ``(nodes, dim)``, given ``(..., size)``."""
        share = self.log_joint(value).softmax(-1)
        mean = share @ nodes
        return Normal(mean, (share @ nodes.square() - mean.square()).clamp_min(1e-8).sqrt())

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of coordinates, ``(...)`` for ``(..., size)``."""
        return self.log_joint(value).logsumexp(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws ``(*sample_shape, *batch_shape, size)``, each of a node; differentiable in means and widths alone."""
        shape = torch.Size(sample_shape) + self.batch_shape
        above = self.log_weights.exp().cumsum(-1)
        u = torch.rand(shape, dtype=above.dtype, device=above.device) * above[-1].detach()
        node = torch.searchsorted(above.detach(), u).clamp_max(len(above) - 1)
        noise = torch.randn(*shape, len(self.sd), dtype=above.dtype, device=above.device)
        return self.mean_of[node] + self.sd * noise


class StratifiedLattice(LatticeMixture):
    r"""The same mixture, of which each row of a batch is a draw of a node of its own, as even as they can be spread.

    Nodes are taken in proportion to the square roots of their probabilities, so that rare wells have more rows; row b
    counts `share[b]` times. Averages :math:`\frac1B \sum_b \mathrm{share}_b f(x_b)` are those over the mixture,
    differentiable in weights, means and width.

    Parameters
    ----------
    log_weights, mean, sd
        As of `LatticeMixture`.
    rows : int
        B.

    Attributes
    ----------
    share : Tensor, shape (B,)
        How often each row counts; 1 on average.

    Examples
    --------
    >>> two = StratifiedLattice(torch.tensor([0.99, 0.01]).log(), torch.tensor([[0.0], [1.0]]), torch.ones(1), 110)
    >>> two.log_rows.exp(), round(float(two.share.mean()), 4)
    (tensor([0.9087, 0.0913]), 1.0)
    """

    def __init__(self, log_weights: Tensor, mean: Tensor, sd: Tensor, rows: int):
        super().__init__(log_weights, mean, sd, (rows,))
        self.log_rows = torch.log_softmax(0.5 * log_weights.detach(), -1)
        above = self.log_rows.exp().cumsum(-1)
        even = (
            torch.arange(rows, device=above.device) + torch.rand(rows, dtype=above.dtype, device=above.device)
        ) / rows
        self.node = torch.searchsorted(above, even * above[-1]).clamp_max(len(above) - 1)
        ratio = (log_weights - self.log_rows)[self.node].exp()
        self.share = ratio / ratio.mean()

    def log_prob_of_rows(self, value: Tensor) -> Tensor:
        """Log density of what the rows hold, shares apart, ``(...)`` for ``(..., size)``."""
        return LatticeMixture(self.log_rows, self.mean_of, self.sd).log_prob(value)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """One draw of each row's node, ``(*sample_shape, B, size)``; differentiable in means and widths."""
        mean = self.mean_of[self.node]
        return mean + self.sd * torch.randn(*sample_shape, *mean.shape, dtype=mean.dtype, device=mean.device)
