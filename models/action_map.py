"""Time steps far longer than an integrator's, by learning the action: symplectic, reversible, with error bars."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.func import grad, jacrev, vmap

from bayescg import nets
from bayescg.arguments import check_counts
from bayescg.data import Pairs
from bayescg.errors import ConfigError
from bayescg.modelling import Batch, MapModel
from bayescg.sampling import short_trajectories
from bayescg.systems import HenonHeiles, System

Fields = tuple[Tensor, Tensor]

_FIRST_LENGTHS = (6.0, 24.0)
_LEAST_CLEAN = 20


class ActionMap(MapModel):
    r"""The generating function of the flow over a time h, as a Gaussian process (Bigi, Spies, Ceriotti 2025).

    A step from (q, p) to (q', p') is the one whose midpoint :math:`\bar q = (q + q')/2`, :math:`\bar p = (p + p')/2`
    has

    .. math:: q' - q = \partial S / \partial \bar p, \qquad p' - p = -\partial S / \partial \bar q,

    and whatever S is, such a step is symplectic. S is even in the momenta, so that the step is reversible. It is known
    to third order in h where the energy :math:`H = p^2/2m + U(q)` is, and the rest is a sum of random functions:

    .. math::
        S = h H + \tfrac{h^3}{24} \left(\nabla U^T m^{-1} \nabla U + v^T U'' v\right)
            + s\, w \cdot \phi(\bar q, \bar p), \qquad w \sim N(0, a^2),\ v = \bar p / m.

    The noise is one of the later states, (q', p') = true ones + N(0, sigma^2): a midpoint moves by half of it, so that
    the residual of the two equations is that noise times :math:`A = 1 - J S'' / 2`. Divided by A it is linear in w, and
    the posterior of w is Gaussian, in closed form; lengths of the functions, a and sigma are those of largest evidence.

    That posterior is too narrow, for the flow is no draw from the prior. Its covariance is widened by the square of one
    factor, with which errors of left-out pairs fall into intervals of 90 % as often as they should, or of pairs with
    noise, whose errors cannot tell, those of some clean ones that the system is followed for. A draw of w is a map as
    exact in structure as the mean; an average of maps is not.

    Parameters
    ----------
    system : System, optional
        Whose energy is known; None: only pairs are.
    lag : float, optional
        Time step h; the pairs tell.
    order : {0, 1, 3}, optional
        To which order in h S is known beforehand; 0: of the kinetic energy alone. Default: 1, or 0 without a system.
    waves : int
        Random functions.
    dim : int, optional
        Number of coordinates; the system or the pairs tell.

    References
    ----------
    F. Bigi, P. Spies, M. Ceriotti, "Learning the action for long-time-step simulations of molecular dynamics",
    arXiv:2508.01068 (2025). Generating functions: Hairer, Lubich, Wanner, "Geometric numerical integration" (2006),
    section VI.5. Gaussian processes of them: Rath et al., Chaos 31, 053121 (2021), arXiv:2009.05569.

    Examples
    --------
    >>> model, pairs, _ = ActionMap.example()
    >>> model.setup(pairs)
    >>> q, p, *_ = model.states(pairs)
    >>> model.displacement(q, p)[0].shape
    torch.Size([40, 2])
    """

    kind = "generalised"
    implicit = True
    uncertainty = "laplace"
    training_defaults: ClassVar[dict[str, Any]] = {"steps": 1, "batch_size": 4096, "validation": 0.0}
    citation = "Bigi, Spies, Ceriotti, arXiv:2508.01068 (2025)"

    spread: Tensor
    noise: Tensor
    factor: Tensor

    def __init__(
        self,
        system: System | None = None,
        lag: float | None = None,
        order: int | None = None,
        waves: int = 600,
        dim: int | None = None,
    ):
        super().__init__()
        check_counts(waves=(waves, 2))
        order = (0 if system is None else 1) if order is None else order
        if order not in ((0,) if system is None else (0, 1, 3)):
            raise ConfigError(f"order={order!r} is not known: use 0, or of a system's energy 1 or 3")
        self.order, self.waves = order, waves
        self.begin_map(system, lag, dim)
        if self.dim is not None:
            self._build(self.dim)

    def _build(self, dim: int) -> None:
        self.functions = nets.RandomWaves(dim, self.waves)
        self.weight = nn.Parameter(torch.zeros(self.waves, dtype=torch.float64))
        for name in ("spread", "noise", "factor"):
            self.register_buffer(name, torch.ones((), dtype=torch.float64))

    def known(self, q: Tensor, p: Tensor) -> Tensor:
        """The part of S that is known beforehand, ``(n,)``."""
        assert self.lag is not None
        h, speed = self.lag, p / self.masses
        s = 0.5 * h * (p * speed).sum(-1)
        if self.system is None or self.order == 0:
            return s
        energy = self.system.energy
        s = s + h * energy(q)
        if self.order == 3:
            slope = grad(lambda x: energy(x).sum())
            curved = (speed * grad(lambda x: (slope(x) * speed).sum())(q)).sum(-1)
            s = s + h**3 / 24 * ((slope(q).square() / self.masses).sum(-1) + curved)
        return s

    def action(self, q: Tensor, p: Tensor, weight: Tensor) -> Tensor:
        """S at midpoints, ``(n,)``, with these weights."""
        return self.known(q, p) + self.widths.prod() * (self.functions(*self.scaled(q, p)) @ weight)

    def displacement(self, q: Tensor, p: Tensor) -> Fields:
        """Changes of positions and momenta, each ``(n, dim)``, at midpoints."""
        return self._changes(q, p, self.weight)

    def _changes(self, q: Tensor, p: Tensor, weight: Tensor) -> Fields:
        along_q, along_p = grad(lambda a, b: self.action(a, b, weight).sum(), argnums=(0, 1))(q, p)
        return along_p, -along_q

    def residual(self, batch: Batch, weight: Tensor) -> Tensor:
        """What the later states are off, in scaled units, ``(n, 2 dim)``, with these weights: noise ~ N(0, sigma^2)."""
        states: Any = (batch.x, batch.momenta, batch.y, batch.later_momenta)
        q, p, later_q, later_p = states
        middle = (q + later_q) / 2, (p + later_p) / 2
        change_q, change_p = self._changes(*middle, weight)
        off = self._joined(later_q - q - change_q, later_p - p - change_p)
        return torch.linalg.solve(self._metric(*middle), off)

    def _joined(self, dq: Tensor, dp: Tensor) -> Tensor:
        return torch.cat([dq, dp], -1) / self.units()

    def _metric(self, q: Tensor, p: Tensor) -> Tensor:
        """A = 1 - J S'' / 2 of the trained S in scaled units, ``(n, 2 dim, 2 dim)``."""
        size, units = q.shape[-1], self.units()

        def half(z: Tensor) -> Tensor:
            change = self._changes(z[None, :size], z[None, size:], self.weight.detach())
            return 0.5 * torch.cat(change, -1)[0]

        derivative = vmap(jacrev(half))(torch.cat([q, p], -1).detach())
        eye = torch.eye(2 * size).to(derivative)
        return eye - derivative * units / units[:, None]

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, (c a)^2); residuals ~ N(0, sigma^2), of which each counts 1/c^2."""
        prior = dist.Normal(torch.zeros_like(self.weight), self.factor * self.spread).to_event(1)
        weight = pyro.sample("weight", prior)
        with batch.plate("frames"), poutine.scale(scale=self.factor**-2):
            off = self.residual(batch, weight)
            pyro.sample("residual", dist.Normal(off, self.noise).to_event(1), obs=torch.zeros_like(off))

    def information(self, batch: Batch) -> Tensor:
        """Residuals in units of the noise, widened by the factor."""
        off = self.residual(batch, self.weight)
        weight = torch.ones_like(off[:, 0]) if batch.weight is None else batch.weight
        return (off / (self.factor * self.noise) * weight.sqrt()[:, None]).flatten()

    def setup(self, pairs: Pairs) -> None:
        """Take scales, and the lengths of largest evidence.

        Raises
        ------
        DataError
            As :meth:`bayescg.modelling.MapModel.setup`.
        """
        super().setup(pairs)
        if not hasattr(self, "functions"):
            self._build(pairs.frames.dim)
        self.double()
        self._choose_lengths(pairs, torch.ones(len(pairs), dtype=torch.float64))

    def solve(self, pairs: Pairs, weight: Tensor) -> None:
        """Weights, prior and noise in closed form; then the factor.

        Warns
        -----
        UserWarning
            The pairs are noisy, and without a system nothing tells how wide the intervals should be.
        """
        posterior = self._posterior(pairs, weight)
        rows = 2 * pairs.frames.dim
        with torch.no_grad():
            self.weight.copy_(posterior.mean)
            self.spread.fill_(posterior.spread)
            self.noise.fill_(posterior.noise)
        least = 0.0
        if posterior.noiseless(rows):
            errors, variance = posterior.left_out(rows)
            least = 1.0
        elif self.system is not None:
            errors, variance = self._clean_errors(pairs, posterior)
        else:
            warnings.warn(
                "the pairs are noisy and no system is given: intervals may be too narrow, as nothing tells how wide "
                "they should be; give system=",
                stacklevel=2,
            )
            return
        self.factor.fill_(max(least, float((errors.abs() / variance.sqrt()).flatten().quantile(0.9) / 1.6449)))

    def _choose_lengths(self, pairs: Pairs, weight: Tensor) -> None:
        """Octave by octave uphill in the evidence."""
        tried: dict[tuple[float, float], float] = {}

        def evidence(lengths: tuple[float, float]) -> float:
            if lengths not in tried:
                self.functions.lengths.copy_(torch.tensor(lengths))
                tried[lengths] = self._posterior(pairs, weight).evidence
            return tried[lengths]

        best = _FIRST_LENGTHS
        while True:
            around = [best, *((best[0] * a, best[1] * b) for a, b in ((2, 1), (0.5, 1), (1, 2), (1, 0.5)))]
            ahead = max(around, key=evidence)
            if ahead == best:
                break
            best = ahead
        self.functions.lengths.copy_(torch.tensor(best))

    def _posterior(self, pairs: Pairs, weight: Tensor) -> nets.LinearPosterior:
        design, y = self._linear(*self.states(pairs))
        root = weight.to(y).sqrt()[:, None]
        return nets.LinearPosterior.of((design * root[..., None]).flatten(0, 1), (y * root).flatten())

    def _linear(self, q: Tensor, p: Tensor, later_q: Tensor, later_p: Tensor) -> Fields:
        """Residual without functions, ``(n, 2 dim)``, and what they change of it, ``(n, 2 dim, waves)``."""
        middle = (q + later_q) / 2, (p + later_p) / 2
        change_q, change_p = self._changes(*middle, torch.zeros_like(self.weight))
        y = self._joined(later_q - q - change_q, later_p - p - change_p)
        u, v = self.scaled(*middle)
        along_u, along_v = self.functions.slopes(u, v)
        design = torch.cat([along_v, -along_u], -1).transpose(1, 2)
        metric = self._metric(*middle)
        solved = torch.linalg.solve(metric, torch.cat([design, y[..., None]], -1))
        return solved[..., :-1], solved[..., -1]

    def _clean_errors(self, pairs: Pairs, posterior: nets.LinearPosterior) -> Fields:
        """Of some pairs that begin where others end, followed without noise: errors and variances."""
        assert self.system is not None
        assert self.lag is not None
        count = min(len(pairs), max(_LEAST_CLEAN, len(pairs) // 5))
        q, p = (x[torch.linspace(0, len(pairs) - 1, count).long()] for x in self.states(pairs)[2:])
        accuracy = max(1e-11, 1e-3 * posterior.noise)
        clean = short_trajectories(self.system, (q, p), lag=self.lag, accuracy=accuracy)
        design, y = self._linear(*self.states(clean))
        along = design @ posterior.directions.T
        beyond = design - along @ posterior.directions
        left = 1 / (1 + (posterior.spread * posterior.roots / posterior.noise).square())
        variance = posterior.spread**2 * (beyond.square().sum(-1) + (along.square() * left).sum(-1))
        return y - design @ posterior.mean, variance

    @classmethod
    def example(cls) -> tuple[ActionMap, Any, None]:
        """Pairs of Hénon and Heiles's oscillator."""
        system = HenonHeiles()
        return cls(system, waves=40), short_trajectories(system, system.shell(40), lag=0.5, accuracy=1e-8), None
