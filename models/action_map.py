"""Time steps far longer than an integrator's, by learning the action: symplectic, reversible, with error bars."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.func import grad, jacrev, vmap

from bayescg import nets
from bayescg.arguments import check_choice, check_counts, check_positive, items_of, stated
from bayescg.data import Pairs
from bayescg.errors import ConfigError
from bayescg.modelling import Batch, MapModel
from bayescg.sampling import short_trajectories
from bayescg.systems import HenonHeiles, System

Fields = tuple[Tensor, Tensor]

_FIRST_LENGTHS = (6.0, 24.0)
"""Of the random functions, in units of the spread of positions and of momenta."""
_MOST_POWERS = 4
_NEAR = 1.55
"""Distance at which functions of particles have faded, in units of that of neighbours, where forces are known."""
_AHEAD = 3 / 20
"""Square of the part of a step over which energies differ by the curvature along v: that with which the
fourth derivative along v is right as well, in h^5."""
_WHITENED = 12
"""Coordinates up to which noise is followed to midpoints: A costs as many gradients as there are, for each pair."""


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

    The functions are random waves of all coordinates, for a few degrees of freedom; or sums over particles and pairs,
    :class:`bayescg.nets.ParticleFunctions`, which rotation, translation and exchange leave as they are. Momentum and
    angular momentum are then kept, and a map trained on some particles is one of any number of such:
    ``fit.map(system=larger)``. Without a system all that they leave over is read as misfit, not noise.

    The noise is one of the later states, (q', p') = true ones + N(0, sigma^2): a midpoint moves by half of it, so that
    the residual of the two equations is that noise times :math:`A = 1 - J S'' / 2`. Divided by A (of waves of at most
    12 coordinates; else A is taken as 1) it is linear in w, and the posterior of w is Gaussian, in closed form; lengths
    of the functions, a and sigma are those of largest evidence.

    That posterior is too narrow, for the flow is no draw from the prior. Its covariance is widened by the square of one
    factor, with which errors of left-out pairs fall into intervals of 90 % as often as they should, or of pairs with
    noise, whose errors cannot tell, those of some clean ones that the system is followed for. A draw of w is a map as
    exact in structure as the mean; an average of maps is not.

    Where the energy is known, every evaluation of S takes a force, too, and a step a few: it is worth it where a step
    turns the fastest mode by some 60 degrees, in few dimensions. What was measured stands with the experiments of long
    time steps (docs/experiments.md).

    Parameters
    ----------
    system : System, optional
        Whose energy is known; None: only pairs are.
    lag : float, optional
        Time step h; the pairs tell.
    order : {0, 1, 3}, optional
        To which order in h S is known beforehand; 0: of the kinetic energy alone. Default: 0 without a system, else 1,
        or 3 of particles.
    form : {"waves", "particles"}
        Functions; those of particles are for clusters in vacuum, of kinds that are few.
    waves : int
        Random functions, divided among the powers.
    powers : sequence of int, optional
        Odd powers of h with which the unknown part grows. Default: of pairs of one lag the lowest that is not known; of
        several, of which any smaller step is learned, as many as there are, at most four.
    radial : int
        Number of powers of distances, of particles.
    cutoff : float, optional
        Distance at which functions of particles have faded, in units of that of nearest neighbours. Default: 1.55 where
        S is known to third order, else none.
    kinds : sequence of str, optional
        Of each particle, which one is like which. Default: those of one mass are.
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

    implicit = True
    citation = "Bigi, Spies, Ceriotti, arXiv:2508.01068 (2025)"

    def __init__(
        self,
        system: System | None = None,
        lag: float | None = None,
        order: int | None = None,
        waves: int = 600,
        powers: Sequence[int] | None = None,
        form: Literal["waves", "particles"] = "waves",
        radial: int = 5,
        cutoff: float | None = None,
        kinds: Sequence[str] | None = None,
        dim: int | None = None,
    ):
        super().__init__()
        check_counts(waves=(waves, 3), radial=(radial, 1))
        check_positive(**stated(cutoff=cutoff))
        check_choice(form=(form, ("waves", "particles")))
        if order is None:
            order = 0 if system is None else 1 if form == "waves" else 3
        check_counts(order=(order, 0))
        if order not in ((0,) if system is None else (0, 1, 3)):
            raise ConfigError(f"order={order!r} is not known: use 0, or of a system's energy 1 or 3")
        if powers is not None:
            check_counts(**{f"powers[{k}]": (power, 1) for k, power in enumerate(items_of(powers, "powers"))})
            if not 0 < len(powers) <= waves:
                raise ConfigError(f"powers={tuple(powers)}: name one power at least, and no more than there are waves")
            if any(power % 2 == 0 for power in powers):
                raise ConfigError(
                    f"powers={tuple(powers)}: S is odd in the time step, so that steps back undo steps ahead"
                )
        self.order, self.waves, self.powers = order, waves, None if powers is None else tuple(powers)
        self.form, self.radial, self.cutoff = form, radial, _NEAR if cutoff is None and order == 3 else cutoff
        self.kinds = None if kinds is None else list(map(str, items_of(kinds, "kinds")))
        self.begin_map(system, lag, dim)
        if form == "particles" and system is not None and kinds is None:
            self.kinds = self._alike()
        if self.dim is not None and self.powers is not None and (form == "waves" or self.kinds is not None):
            self._build(self.dim, len(self.powers))

    def _alike(self) -> list[str]:
        """Kinds of particles: those of one mass."""
        return [f"{float(mass):.5g}" for mass in self.masses[::3]]

    def _build(self, dim: int, powers: int) -> None:
        if self.form == "waves":
            self.functions: Any = nets.RandomWaves(dim, self.waves // powers)
        else:
            kinds = self.kinds = self.kinds or self._alike()
            if dim != 3 * len(kinds):
                raise ConfigError(
                    f"form='particles' is of particles in space: {dim} coordinates are not those of {len(kinds)}"
                )
            energy = self.system.energy if self.system is not None and self.order == 3 else None
            self.functions = nets.ParticleFunctions(kinds, self.radial, self.cutoff, energy)
            self.functions.masses.copy_(self.masses[::3])
        self.weight = nn.Parameter(torch.zeros(self.functions.size * powers, dtype=torch.float64))
        for name in ("spread", "noise"):
            self.register_buffer(name, torch.ones((), dtype=torch.float64))

    def known(self, q: Tensor, p: Tensor, h: Tensor) -> Tensor:
        """The part of S that is known beforehand, ``(n,)``."""
        speed = p / self.masses
        s = 0.5 * h * (p * speed).sum(-1)
        if self.system is None or self.order == 0:
            return s
        energy = self.system.energy
        s = s + h * energy(q)
        if self.order == 3:
            slope = grad(lambda x: energy(x).sum())(q)
            ahead = (_AHEAD**0.5 * h)[:, None] * speed
            curved = (energy(q + ahead) + energy(q - ahead) - 2 * energy(q)) / (_AHEAD * h**2)
            s = s + h**3 / 24 * ((slope.square() / self.masses).sum(-1) + curved)
        return s

    def action(self, q: Tensor, p: Tensor, weight: Tensor, h: Tensor) -> Tensor:
        """S at midpoints, ``(n,)``, with these weights and time steps ``(n,)``."""
        values = self.functions(*self._read(q, p)) @ weight.unflatten(0, (-1, self.functions.size)).T
        return self.known(q, p, h) + self.widths.prod() * (values * self._growth(h)).sum(-1)

    def _read(self, q: Tensor, p: Tensor) -> Fields:
        """What the functions read: waves scaled states, particles the states themselves."""
        return self.scaled(q, p) if self.form == "waves" else (q, p)

    def _growth(self, h: Tensor) -> Tensor:
        """Powers of the time step, in units of the longest, ``(n, powers)``."""
        assert self.powers is not None
        assert self.lag is not None
        return torch.stack([(h / self.lag) ** power for power in self.powers], -1)

    def displacement(self, q: Tensor, p: Tensor, lag: float | None = None) -> Fields:
        """Changes of positions and momenta, each ``(n, dim)``, at midpoints."""
        assert self.lag is not None
        return self._changes(q, p, self.weight, torch.full_like(q[:, 0], self.lag if lag is None else lag))

    def _changes(self, q: Tensor, p: Tensor, weight: Tensor, h: Tensor) -> Fields:
        along_q, along_p = grad(lambda a, b: self.action(a, b, weight, h).sum(), argnums=(0, 1))(q, p)
        return along_p, -along_q

    def residual(self, batch: Batch, weight: Tensor) -> Tensor:
        """What the later states are off, in scaled units, ``(n, 2 dim)``, with these weights: noise ~ N(0, sigma^2)."""
        states: Any = (batch.x, batch.momenta, batch.y, batch.later_momenta, batch.lag)
        design, y = self._equations(*states)
        return y - design @ weight

    def metric(self, q: Tensor, p: Tensor, h: Tensor) -> Tensor:
        """A = 1 - J S'' / 2 of the trained S in scaled units, ``(n, 2 dim, 2 dim)``, at midpoints."""
        size, units = q.shape[-1], self.units()

        def half(z: Tensor, h: Tensor) -> Tensor:
            change = self._changes(z[None, :size], z[None, size:], self.weight.detach(), h[None])
            return 0.5 * torch.cat(change, -1)[0]

        derivative = vmap(jacrev(half))(torch.cat([q, p], -1).detach(), h)
        return torch.eye(2 * size).to(derivative) - derivative * units / units[:, None]

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, (c a)^2); residuals ~ N(0, sigma^2), of which each counts 1/c^2."""
        factor = self.factors[-1]
        prior = dist.Normal(torch.zeros_like(self.weight), factor * self.spread).to_event(1)
        weight = pyro.sample("weight", prior)
        with batch.plate("frames"), poutine.scale(scale=factor**-2):
            off = self.residual(batch, weight)
            pyro.sample("residual", dist.Normal(off, self.noise).to_event(1), obs=torch.zeros_like(off))

    def information(self, batch: Batch) -> Tensor:
        """Residuals in units of the noise, widened by the factor."""
        off = self.residual(batch, self.weight)
        weight = torch.ones_like(off[:, 0]) if batch.weight is None else batch.weight
        return (off / (self.factors[-1] * self.noise) * weight.sqrt()[:, None]).flatten()

    def setup(self, pairs: Pairs) -> None:
        """Take scales, and the lengths of largest evidence, octave by octave uphill.

        Raises
        ------
        DataError
            As :meth:`bayescg.modelling.MapModel.setup`.
        """
        super().setup(pairs)
        if self.powers is None:
            first = self.order + (2 if self.order else 1)
            self.powers = tuple(range(first, first + 2 * min(len(self.lags), _MOST_POWERS), 2))
        if not hasattr(self, "functions"):
            self._build(pairs.frames.dim, len(self.powers))
        self.double()
        if self.form == "particles":
            self.widths[0] = (
                pairs.lag * self.widths[1]
            )  # of a cluster that turns and drifts: what it moves by in a step
            self.functions.masses.copy_(self.masses[::3])
            self.functions.measure(*self.states(pairs), self.units() / self.widths.prod())
            return
        even = torch.ones(len(pairs), dtype=torch.float64)
        nets.uphill(lambda: self._posterior(pairs, even).evidence, self.functions.lengths, _FIRST_LENGTHS)

    def solve(self, pairs: Pairs, weight: Tensor) -> None:
        """Weights, prior and noise in closed form; then the factors.

        Warns
        -----
        UserWarning
            The pairs are noisy, and without a system nothing tells how wide the intervals should be.
        """
        posterior = self._posterior(pairs, weight)
        with torch.no_grad():
            self.weight.copy_(posterior.mean)
        self.spread.fill_(posterior.spread)
        self.noise.fill_(posterior.noise)
        lags, rows = len(np.unique(pairs.lags.round(9))), 2 * pairs.frames.dim
        together = rows * (lags if lags > 1 else round(pairs.overlap))
        exact = posterior.noiseless(together) or (self.form == "particles" and self.system is None)
        if exact and (lags == 1 or self.system is None):
            errors, variance = (x.reshape(-1, rows) for x in posterior.left_out(together))
            self.calibrate(errors, variance, pairs.lags[: len(errors)], least=1.0)
        elif self.system is not None:
            clean = self.clean_pairs(pairs, accuracy=max(1e-11, 1e-3 * posterior.noise))
            design, y = self.linear(clean)
            self.calibrate(y - design @ posterior.mean, posterior.variance(design), clean.lags, least=0.0)
        else:
            warnings.warn(
                "the pairs are noisy and no system is given: intervals may be too narrow, as nothing tells how wide "
                "they should be; give system=",
                stacklevel=2,
            )

    def _posterior(self, pairs: Pairs, weight: Tensor) -> nets.LinearPosterior:
        design, y = self.linear(pairs)
        root = weight.to(y).sqrt()[:, None]
        return nets.LinearPosterior.of((design * root[..., None]).flatten(0, 1), (y * root).flatten())

    def linear(self, pairs: Pairs) -> Fields:
        """What functions change of the residuals, ``(n, 2 dim, weights)``, and residuals without, ``(n, 2 dim)``."""
        return self._equations(*self.states(pairs), torch.as_tensor(pairs.lags))

    def _equations(self, q: Tensor, p: Tensor, later_q: Tensor, later_p: Tensor, h: Tensor) -> Fields:
        middle = (q + later_q) / 2, (p + later_p) / 2
        change_q, change_p = self._changes(*middle, torch.zeros_like(self.weight), h)
        y = torch.cat([later_q - q - change_q, later_p - p - change_p], -1) / self.units()
        along_q, along_p = self.functions.slopes(*self._read(*middle))
        design = torch.cat([along_p, -along_q], -1).transpose(1, 2)
        design = torch.cat([design * g[:, None, None] for g in self._growth(h).unbind(-1)], -1)
        if self.form == "particles":
            return design * (self.widths.prod() / self.units())[:, None], y
        if q.shape[-1] > _WHITENED:
            return design, y
        solved = torch.linalg.solve(self.metric(*middle, h), torch.cat([design, y[..., None]], -1))
        return solved[..., :-1], solved[..., -1]

    def of_system(self, system: System) -> MapModel:
        """The map of another number of the same kinds of particles, which the masses of their system tell.

        Raises
        ------
        ModelError
            The functions are waves, which are of the coordinates they were trained on.
        ConfigError
            There are other kinds of particles than the map was trained on.
        """
        if self.form != "particles":
            return super().of_system(system)
        other = type(self)(**{**self.arguments("system", "kinds", "dim"), "system": system}).double()
        other._widen(np.array(self.lags))
        here, there = (", ".join(sorted(set(model.kinds or ()))) for model in (self, other))
        if here != there:
            raise ConfigError(
                f"this map was trained on particles of kinds (masses) {here}, and the system's have {there}: train one "
                "on such particles"
            )
        values = {k: v for k, v in self.state_dict().items() if k not in ("masses", "centre", "functions.masses")}
        other.load_state_dict(values, strict=False)
        other.reach.mul_(other.masses.numel() / self.masses.numel())  # of variances summed over coordinates
        return other

    @classmethod
    def example(cls) -> tuple[ActionMap, Any, None]:
        """Pairs of Hénon and Heiles's oscillator."""
        system = HenonHeiles()
        return cls(system, waves=40), short_trajectories(system, system.shell(40), lag=0.5, accuracy=1e-8), None
