"""How long a time step may be, by what draws of its map do to the energy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bayescg.analysis.long_steps.by_trajectory import each_trajectory, over_trajectories
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts, check_numbers, check_positive
from bayescg.data import Frames, evenly
from bayescg.errors import DataError, ModelError
from bayescg.inference import Fit
from bayescg.sampling import mapped_dynamics

__all__ = ["RecommendedStep", "recommended_step"]

_STEPS = 6


@dataclass(frozen=True)
class RecommendedStep:
    r"""Of several time steps, how often the energy is off by more than a tolerance.

    Attributes
    ----------
    step : float or None
        The longest whose probability is below 1 - level, its interval included, as those of all shorter ones are; None
        where there is none.
    lags : tuple of float
        Time steps that were tried.
    exceeding : tuple of Quantity
        Of each, the probability that :math:`|\Delta E|` exceeds the tolerance, over draws, states and times.
    evaluations : tuple of float
        Of each, of the map per unit of time: its cost.
    tolerance, level : float
        As given.
    """

    step: float | None
    lags: tuple[float, ...]
    exceeding: tuple[Quantity, ...]
    evaluations: tuple[float, ...]
    tolerance: float
    level: float

    def __repr__(self) -> str:
        head = (
            f"RecommendedStep({self.step:.4g}: " if self.step is not None else "RecommendedStep(none of those tried: "
        ) + f"P(|dE| > {self.tolerance:g}) below {1 - self.level:.3g})"
        rows = [
            f"  {lag:8.4g}  P = {p.mean:.3f} ± {p.sd:.2g}  {cost:.3g} evaluations per unit of time"
            for lag, p, cost in zip(self.lags, self.exceeding, self.evaluations, strict=True)
        ]
        return "\n".join([head, *rows])


def recommended_step(
    fit: Fit,
    tolerance: float,
    level: float = 0.95,
    *,
    starts: Any = None,
    lags: Sequence[float] | None = None,
    time: float | None = None,
    draws: int = 10,
    seed: int = 0,
) -> RecommendedStep:
    r"""The longest time step with which the energy stays within a tolerance of where it began, as often as wanted.

    Every one of so many draws of the map follows all starts for a while. Its interval is over draws and starts, so that
    a map that was learned from few pairs is trusted with shorter steps only.

    Parameters
    ----------
    fit : Fit
        Of a model with a known energy that has learned a range of steps, from pairs of several lags.
    tolerance : float
        Of the total energy, in the unit of energy.
    level : float
        Probability that the energy is to be within it.
    starts : Frames or (positions, momenta), optional
        States. Default: 20 of those that the fit has learned from.
    lags : sequence of float, optional
        Steps to try. Default: from the shortest to the longest that was learned.
    time : float, optional
        For which trajectories are followed. Default: 20 of the longest steps.
    draws : int
        Of the posterior.
    seed : int

    Raises
    ------
    ModelError
        The energy is not known, or the fit has no parameter uncertainty.
    DataError
        No starts are given, and the fit was loaded without frames.

    Examples
    --------
    >>> import bayescg as bcg
    >>> system = bcg.systems.HenonHeiles()
    >>> pairs = bcg.sampling.short_trajectories(system, system.shell(40), lag=(0.25, 0.5, 1.0), accuracy=1e-8)
    >>> fit = bcg.fit(bcg.models.ActionMap(system, waves=40), pairs)
    >>> recommended_step(fit, 1e-2, lags=(0.5, 1.0), time=4.0, draws=2).step
    0.5
    """
    check_positive(tolerance=tolerance)
    check_numbers(level=(level, "(0, 1)"))
    check_counts(draws=(draws, 1), seed=(seed, 0))
    model: Any = fit.model
    if getattr(model, "system", None) is None:
        raise ModelError("without a known energy nothing tells how far it is off: fit a model with system=")
    if starts is None:
        if fit.frames is None or fit.frames.momenta is None:
            raise DataError("this fit was loaded without frames: give starts=(positions, momenta)")
        rows = evenly(fit.frames, 40)[::2]
        starts = fit.frames.subset(rows)
    if isinstance(starts, Frames):
        starts = (starts.gather(slice(None)), starts.gather(slice(None), "momenta"))
    longest = max(model.lags)
    lags = tuple(np.geomspace(min(model.lags), longest, _STEPS)) if lags is None else tuple(sorted(lags))
    length: float = 20 * longest if time is None else time
    exceeding, evaluations, step, passing = [], [], None, True
    for lag in map(float, lags):
        share, cost = _exceeding(fit, starts, lag, max(1, round(length / lag)), tolerance, draws, seed)
        exceeding.append(share)
        evaluations.append(cost / lag)
        passing = passing and share.ci90 is not None and share.ci90[1] <= 1 - level
        step = lag if passing else step
    return RecommendedStep(
        step, tuple(map(float, lags)), tuple(exceeding), tuple(evaluations), tolerance, level
    )  # fmt: skip


def _exceeding(
    fit: Fit, starts: Any, lag: float, steps: int, tolerance: float, draws: int, seed: int
) -> tuple[Quantity, float]:
    """Share of states along trajectories whose energy is off, and iterations a step."""
    model: Any = fit.model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of lost ones, which count as off
        path = mapped_dynamics(
            fit, starts, steps=steps, lag=lag, draws=draws, seed=seed, lost="end", progress=False
        )  # fmt: skip

    def energy(q: Any, p: Any) -> np.ndarray:
        q, p = (torch.as_tensor(np.asarray(x)).double().flatten(1) for x in (q, p))
        with torch.no_grad():
            return (model.system.energy(q) + 0.5 * (p.square() / model.masses.to(p)).sum(1)).numpy()

    first = np.tile(energy(*starts), draws)
    each = each_trajectory(path, energy(path.positions, path.momenta))
    shares = [(np.sum(np.abs(e - e0) > tolerance) + steps - len(e)) / steps for e0, e in zip(first, each, strict=True)]
    return over_trajectories(np.array(shares), draws, "", seed), path.provenance["solver"]["iterations"]
