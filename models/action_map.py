"""Time steps far longer than an integrator's, by learning the action: symplectic, reversible, with error bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.func import grad

from bayescg import nets
from bayescg.arguments import check_choice, check_counts, check_positive, items_of, stated
from bayescg.data import Pairs
from bayescg.modelling import Batch, MapModel
from bayescg.sampling import short_trajectories
from bayescg.systems import HenonHeiles, System


class ActionMap(MapModel):
    r"""The generating function of the flow over a time h, as a Gaussian process (Bigi, Spies, Ceriotti 2025).

    A step from (q, p) to (q', p') is one with a midpoint :math:`\bar q = (q + q')/2`, :math:`\bar p = (p + p')/2` and

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

    The noise is one of the later states, (q', p') = true ones + N(0, sigma^2), in which the equations are linear in w
    (:func:`bayescg.nets.midpoint_equations`): the posterior of w is Gaussian, in closed form, lengths of functions, a
    and sigma those of largest evidence. Too narrow, for the flow is no draw from the prior, it is widened by one factor
    (:meth:`bayescg.modelling.MapModel.take`). A draw of w is as exact in structure as the mean; an average is not.

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
    functions: nets.RandomWaves | nets.ParticleFunctions

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
        self.order = nets.check_order(order, system is not None, form == "particles")
        self.powers = nets.check_powers(powers, waves)
        self.form, self.waves, self.radial = form, waves, radial
        self.cutoff = nets.ParticleFunctions.near if cutoff is None and self.order == 3 else cutoff
        self.kinds = None if kinds is None else list(map(str, items_of(kinds, "kinds")))
        enough = form == "waves" or system is not None or kinds is not None
        self.begin_map(system, lag, dim, enough and powers is not None)

    def build(self, dim: int) -> None:
        """The functions, and their weights for each power of h."""
        self.powers = self.powers or nets.unknown_powers(self.order, len(self.lags))
        if self.form == "waves":
            self.functions = nets.RandomWaves(dim, self.waves // len(self.powers))
        else:
            self.kinds = self.kinds or nets.alike(self.masses)
            energy = self.system.energy if self.system is not None and self.order == 3 else None
            self.functions = nets.ParticleFunctions(self.kinds, self.radial, self.cutoff, energy, self.masses)
        self.begin_weights(self.functions.size * len(self.powers))

    def known(self, q: Tensor, p: Tensor, h: Tensor) -> Tensor:
        """The part of S that is known beforehand, ``(n,)``."""
        v = p / self.masses
        s = 0.5 * h * (p * v).sum(-1)
        if self.system is not None and self.order:
            s = s + h * self.system.energy(q)
        if self.system is not None and self.order == 3:
            s = s + h**3 / 24 * nets.third_order(self.system.energy, q, v, self.masses, h)
        return s

    def unknown(self) -> nets.ActionFunctions:
        """The part that is learned, of weights w."""
        powers, lag = self.powers or (), self.lag or 1.0
        return nets.ActionFunctions(self.functions, self.scaled, powers, lag, self.widths.prod(), self.units())

    def action(self, q: Tensor, p: Tensor, weight: Tensor, h: Tensor) -> Tensor:
        """S at midpoints, ``(n,)``, with these weights and time steps ``(n,)``."""
        return self.unknown()(q, p, weight, h) + self.known(q, p, h)

    def changes(self, q: Tensor, p: Tensor, weight: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Of positions and momenta over a step, each ``(n, dim)``, as slopes of S at midpoints."""
        along_q, along_p = grad(lambda a, b: self.action(a, b, weight, h).sum(), argnums=(0, 1))(q, p)
        return along_p, -along_q

    def displacement(self, q: Tensor, p: Tensor, lag: float | None = None) -> tuple[Tensor, Tensor]:
        """Changes of positions and momenta, each ``(n, dim)``, at midpoints."""
        assert self.lag is not None
        return self.changes(q, p, self.weight, torch.full_like(q[:, 0], self.lag if lag is None else lag))

    def linear(self, *states: Any) -> tuple[Tensor, Tensor]:
        """What weights change of residuals, ``(n, 2 dim, weights)``, and these without, of `states` and h ``(n,)``."""
        return nets.midpoint_equations(self.changes, self.unknown(), self.weight, states[:4], states[4])

    def residual(self, batch: Batch, weight: Tensor) -> Tensor:
        """What the later states are off, in scaled units, ``(n, 2 dim)``, with these weights: noise ~ N(0, sigma^2)."""
        design, y = self.linear(batch.x, batch.momenta, batch.y, batch.later_momenta, batch.lag)
        return y - (design.flatten(0, 1) @ weight).reshape(y.shape)

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, (c a)^2); residuals ~ N(0, sigma^2), of which each counts 1/c^2."""
        factor = self.factors[-1]
        weight = pyro.sample("weight", dist.Normal(torch.zeros_like(self.weight), factor * self.spread).to_event(1))
        with batch.plate("frames"), poutine.scale(scale=factor**-2):
            off = self.residual(batch, weight)
            pyro.sample("residual", dist.Normal(off, self.noise).to_event(1), obs=torch.zeros_like(off))

    def setup(self, pairs: Pairs) -> None:
        """Take scales, and the lengths of largest evidence, octave by octave uphill."""
        super().setup(pairs)
        if isinstance(self.functions, nets.RandomWaves):
            nets.uphill(lambda: self.posterior(pairs).evidence, self.functions.lengths, begin=(6.0, 24.0))
        else:
            self.widths[0] = pairs.lag * self.widths[1]  # of clusters that turn and drift: what they move by in a step
            self.functions.measure(*self.states(pairs), self.units() / self.widths.prod(), self.masses)

    def solve(self, pairs: Pairs, weight: Tensor) -> None:
        """Weights, prior and noise in closed form; then the factors."""
        self.take(pairs, weight, misfit=self.form == "particles" and self.system is None)

    def of_system(self, system: System) -> MapModel:
        """The map of another number of the same kinds of particles, which the masses of their system tell."""
        if self.form != "particles":
            return super().of_system(system)
        other = type(self)(**{**self.arguments("system", "kinds", "dim"), "system": system})
        nets.check_alike(self.kinds or (), other.kinds or ())
        return other.with_learned(self)

    @classmethod
    def example(cls) -> tuple[ActionMap, Any, None]:
        """Pairs of Hénon and Heiles's oscillator."""
        system = HenonHeiles()
        return cls(system, waves=40), short_trajectories(system, system.shell(40), lag=0.5, accuracy=1e-8), None
