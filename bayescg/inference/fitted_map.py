"""A fitted map of one time step: at the trained values, for a draw of the parameters, or for many at once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vjp

from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.families.map_model import HasMap
from bayescg.modelling.model import Model
from bayescg.recording.functional import Params, call_with, over
from bayescg.sampling.long_steps.fixed_point import fixed_point
from bayescg.systems import System

__all__ = ["Caustic", "FittedMap", "Spread", "Step", "fitted_map"]

_DRAWS = 100


class Step(NamedTuple):
    """Where a step leads, and how well it was solved.

    Attributes
    ----------
    q, p : Tensor, (n, dim)
        Positions and momenta.
    iterations : int
        Evaluations of the displacement.
    residual : Tensor, (n,)
        Of the implicit equations, in units of the spread of positions and momenta; 0 of an explicit map.
    """

    q: Tensor
    p: Tensor
    iterations: int
    residual: Tensor


class Spread(NamedTuple):
    """How wrong one step may be.

    Attributes
    ----------
    q, p : Tensor, (n, dim)
        Standard deviations of positions and momenta.
    ratio : Tensor, (n,)
        Variance in the posterior, over the largest of the states that errors are known of. Far above 1 nothing says how
        wrong a step is.
    """

    q: Tensor
    p: Tensor
    ratio: Tensor


class Caustic(NamedTuple):
    r"""How far an implicit step is from where it is none, at midpoints, by :math:`M = J S'' / 2`.

    Attributes
    ----------
    determinant : Tensor, (n,)
        Of 1 - M: positive on the branch that begins at short steps; of harmonic modes the product of
        :math:`\sec^2(\omega h / 2)`.
    radius : Tensor, (n,)
        Largest absolute eigenvalue of M: plain iteration converges below 1, and its error falls by so much in a turn.
    angle : Tensor, (n,)
        By which the fastest mode turns in the step, :math:`\omega h`: the caustic is at :math:`\pi`.
    """

    determinant: Tensor
    radius: Tensor
    angle: Tensor


class FittedMap:
    r"""The step over a lag time that a model has learned. Made by :meth:`bayescg.inference.fitted.Fit.map`.

    An implicit step is solved to a tolerance, to which it is symplectic and reversible.

    Parameters
    ----------
    model : Model and HasMap
        With the trained values.
    point : dict of str to Tensor
        Those.
    varying : dict of str to Tensor
        Draws of the parameters that vary, ``(draws, ...)``.
    draws : int, optional
        None: of one draw the map itself.
    lag : float, optional
        Time step; None: that of the model.
    laplace : bool
        Whether the draws are of the posterior, which is widened for other steps, or refits.

    Attributes
    ----------
    model, point, varying, draws, lag
        As given. Of n states, the first n / draws are moved by the first draw's map, and so on.
    """

    def __init__(
        self,
        model: Any,
        point: Params,
        varying: Params,
        draws: int | None = None,
        lag: float | None = None,
        laplace: bool = True,
    ):
        if lag is not None and not any(abs(lag / learned - 1) < 1e-6 for learned in model.lags):
            listed = ", ".join(f"{learned:g}" for learned in model.lags)
            advice = f"lag={lag:g}, and this {type(model).__name__} has learned "
            if len(model.lags) == 1 or model.system is None:
                raise ConfigError(
                    f"{advice}lag {listed}: learn with system= from pairs of several, short_trajectories(system, "
                    "starts, lag=(...)), for steps in between"
                )
            if not 0 < lag <= max(model.lags):
                raise ConfigError(f"{advice}steps up to {max(model.lags):g}: use a shorter one")
        ratio = model.widened(lag) if laplace else 1.0
        self.model, self.point, self.draws = model, point, draws
        self.lag: float = model.lag if lag is None else lag
        self.posterior: Posterior | None = None
        self.varying = {k: point[k] + ratio * (v - point[k]) for k, v in varying.items()}

    def displacement(self, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Changes of flat positions and momenta, each ``(n, dim)``: at midpoints of an implicit map, else at starts.

        Raises
        ------
        ConfigError
            n states cannot be divided among the draws.
        """

        def change(values: Params, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
            return call_with(self.model, {**self.point, **values}, lambda m: m.displacement(q, p, self.lag))

        if self.draws is None:
            return change({k: v[0] for k, v in self.varying.items()}, q, p)
        if len(q) % self.draws:
            raise ConfigError(
                f"{len(q)} states cannot be divided among {self.draws} draws of the posterior: take a multiple of it"
            )
        each = (q.unflatten(0, (self.draws, -1)), p.unflatten(0, (self.draws, -1)))
        dq, dp = over(change)(self.varying, *each)
        return dq.flatten(0, 1), dp.flatten(0, 1)

    def caustic(self, q: Tensor, p: Tensor) -> Caustic:
        """Diagnostics of an implicit step at midpoints, flat ``(n, dim)``; states of its trajectories serve as well.

        Raises
        ------
        ModelError
            The map is explicit.
        """
        if not self.model.implicit:
            raise ModelError(f"{type(self.model).__name__} is an explicit map, which has no caustic")
        slope = self._slope(q, p)
        with torch.no_grad():
            eigenvalues = torch.linalg.eigvals(slope)
            determinant = torch.linalg.det(torch.eye(slope.shape[-1]).to(slope) - slope)
        return Caustic(determinant, eigenvalues.abs().amax(1), 2 * eigenvalues.imag.amax(1).atan())

    def _slope(self, q: Tensor, p: Tensor) -> Tensor:
        """J S'' / 2 at midpoints, in scaled units, ``(n, 2 dim, 2 dim)``."""
        units, middle = self.model.units(), torch.cat([q, p], 1)
        moved, back, *_ = vjp(lambda z: 0.5 * torch.cat(self.displacement(*(z * units).chunk(2, 1)), 1), middle / units)
        rows = torch.eye(moved.shape[1]).to(moved) / units
        with torch.no_grad():
            return torch.stack([back(row.expand_as(moved))[0] for row in rows], 1)

    def spread(self, q: Tensor, p: Tensor) -> Spread:
        r"""How wrong one step from these states may be, flat ``(n, dim)`` each, with intervals that hold on fresh ones.

        Errors of left-out pairs tell how their variance goes with that of the posterior, :math:`a v^b`: nearer to the
        truth than one factor is, above all at the rim of what was learned and beyond. It is of single steps; draws of
        the map, which trajectories need, are widened by one factor. Intervals of 1.645 standard deviations are to hold
        90 % of the errors; the tails are longer than a Gaussian's, the more so the fewer the pairs.

        Raises
        ------
        ModelError
            The fit has no parameter uncertainty.
        """
        if self.posterior is None or self.posterior.kind == "none":
            raise ModelError("a fit without parameter uncertainty does not know how wrong it may be")
        model, units = self.model, self.model.units()
        alone = FittedMap(model, self.point, {}, lag=self.lag)
        moved = alone.step(q, p)
        middle = ((q + moved.q) / 2, (p + moved.p) / 2) if model.implicit else (q, p)
        many = FittedMap(model, self.point, self.posterior.draw(_DRAWS), _DRAWS, self.lag)
        with torch.no_grad():
            changes = many.displacement(*(x.repeat(_DRAWS, 1) for x in middle))
            off = (torch.cat(changes, 1) / units).unflatten(0, (_DRAWS, -1))
            off = off - torch.cat(alone.displacement(*middle), 1) / units
            if model.implicit:
                slope = alone._slope(*middle)
                off = torch.linalg.solve(torch.eye(slope.shape[-1]).to(slope) - slope, off[..., None])[..., 0]
            number = min(range(len(model.lags)), key=lambda k: abs(model.lags[k] - self.lag))
            variance = off.square().mean(0) / (model.factors[-1] * model.widened(self.lag)) ** 2
            factor, exponent = model.laws[number]
            sd = (factor * variance**exponent).sqrt() * units
            sd_q, sd_p = sd.chunk(2, 1)
            return Spread(sd_q, sd_p, variance.sum(1) / model.reach[number])

    def step(self, q: Tensor, p: Tensor, tolerance: float = 1e-10, most: int = 100) -> Step:
        """One step of many states.

        Parameters
        ----------
        q, p : Tensor, (n, dim)
            Flat positions and momenta, double precision.
        tolerance : float
            Of the implicit equations, in units of the spread of positions and momenta.
        most : int
            Evaluations after which it ends, converged or not: `Step.residual` tells.

        Raises
        ------
        DataError
            These are no such tensors, or not finite.
        """
        size = self.model.units().shape[-1] // 2
        for what, x in (("positions", q), ("momenta", p)):
            if not isinstance(x, Tensor) or x.ndim != 2 or x.shape[1] != size:
                shape = tuple(getattr(x, "shape", ()))
                raise DataError(f"{what} of a step are a tensor of shape (n, {size}), not a {type(x).__name__} {shape}")
            if not bool(x.isfinite().all()):
                raise DataError(f"{what} of state {int((~x.isfinite()).any(1).nonzero()[0])} are not finite")
        if not self.model.implicit:
            dq, dp = self.displacement(q, p)
            return Step(q + dq, p + dp, 1, torch.zeros_like(q[:, 0]))
        units = self.model.units()
        start = torch.cat([q, p], 1) / units

        def middle(z: Tensor) -> Tensor:
            return start + 0.5 * torch.cat(self.displacement(*(z * units).chunk(2, 1)), 1) / units

        solution = fixed_point(middle, middle(start), tolerance, most)
        later_q, later_p = ((2 * solution.x - start) * units).chunk(2, 1)
        return Step(later_q, later_p, solution.iterations + 1, solution.residual)


def fitted_map(
    model: Model,
    weights: Posterior,
    draw: int | None,
    draws: int | None,
    seed: int,
    lag: float | None,
    system: System | None = None,
) -> FittedMap:
    """What `Fit.map` gives.

    Raises
    ------
    ModelError
        The model is no map, or of no other system, or a draw is wanted of a fit that has no parameter uncertainty.
    ConfigError
        Both `draw` and `draws` are given, there are not so many refits, the step is none that was learned, or the
        system has other particles.
    """
    if not isinstance(model, HasMap):
        raise ModelError(f"{type(model).__name__} is no map of a time step")
    varying, many = weights.some(draw, draws, seed, type(model).__name__)
    stepped: Any = model
    point = weights.point
    if system is not None:
        stepped = stepped.of_system(system)
        point = {k: v.detach() for k, v in (*stepped.named_parameters(), *stepped.named_buffers())}
    fitted = FittedMap(stepped, point, varying, many, lag, weights.kind == "laplace")
    fitted.posterior = weights
    return fitted
