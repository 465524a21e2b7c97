"""The ensemble that simulation and experiment agree on, as draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.analysis.evaluation import evaluate, named_observables, unit_of
from bayescg.analysis.experimental.stationary_rates import rate_quantities, transitions
from bayescg.analysis.free_energy.sparse import FEWEST
from bayescg.analysis.quantity import Quantity
from bayescg.analysis.resampled import Resampled
from bayescg.arguments import check_counts, check_positive
from bayescg.errors import ConfigError, DataError

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.data import Frames

__all__ = ["Averages", "Ensemble", "Measured", "quantity"]


class Averages:
    """Averages over frames whose weights are multiplied by exp(-g), g constant in each cell.

    Parameters
    ----------
    drawing : Resampled
        Draws of the simulation's own weights.
    cell : ndarray of int, (n,)
    cells : int
    values : ndarray, (n, k)
        What is averaged.
    """

    def __init__(self, drawing: Resampled, cell: np.ndarray, cells: int, values: np.ndarray):
        self._factors = drawing.factors
        self._mass, self._mass_in_draws = drawing.sums(cell, cells)
        parts = [drawing.sums(cell, cells, values=column) for column in values.T]
        self._sum, self._sum_in_draws = (np.stack([p[i] for p in parts], -1) for i in (0, 1))

    def __call__(self, g: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Averages ``(m, k)`` with errors `g` ``(m, cells)`` in draws of the simulation of these numbers ``(m,)``."""
        tilt = _tilt(g)
        whole = self._of_all(tilt)
        sums = np.einsum("mc,mck->mk", tilt, self._sum_in_draws[draws])
        each = sums / (tilt * self._mass_in_draws[draws]).sum(1, keepdims=True)
        return whole + self._factors[draws, None] * (each - whole)

    def of_all(self, g: np.ndarray) -> np.ndarray:
        """Averages ``(m, k)`` over all frames as they are simulated."""
        return self._of_all(_tilt(g))

    def _of_all(self, tilt: np.ndarray) -> np.ndarray:
        return tilt @ self._sum / (tilt @ self._mass)[:, None]


def _tilt(g: np.ndarray) -> np.ndarray:
    return np.exp(-(g - g.min(1, keepdims=True)))


@dataclass(frozen=True)
class Measured:
    """One datum.

    Attributes
    ----------
    name, unit : str
    value, sd : float
        As measured.
    simulated, predicted : Quantity
        By the simulation alone, and by the ensemble.
    frames : float
        How many effective frames make the simulated average.
    """

    name: str
    unit: str
    value: float
    sd: float
    simulated: Quantity
    predicted: Quantity
    frames: float


@dataclass(frozen=True)
class Ensemble:
    r"""What :func:`bayescg.analysis.experiments` returns: an ensemble that simulation and experiment agree on.

    Attributes
    ----------
    frames : Frames
        The simulation's, with the mean weights of the ensemble.
    data : tuple of Measured
    error : DataArray, (draw, bin) or (draw, bin_x, bin_y)
        What the force field's free energy is off by, kT; its mean over the frames is zero.
    names, cv_units : tuple of str
        Of the CVs.
    visited : DataArray of bool
        Cells with frames.
    noise : dict
        For each forward model its error's standard deviation in draws, ``(draws,)``; with `scale` and `offset` if
        these were asked for.
    effective : float
        What share of the simulation's effective frames a typical draw leaves.
    warnings : tuple of str
    """

    frames: Frames
    data: tuple[Measured, ...]
    error: xr.DataArray
    names: tuple[str, ...]
    cv_units: tuple[str, ...]
    visited: xr.DataArray
    noise: dict[str, np.ndarray]
    effective: float
    warnings: tuple[str, ...]
    doubt: str | None
    drawing: Resampled
    cell: np.ndarray
    simulation: Frames

    def average(self, observable: str | Callable[..., Any]) -> Quantity:
        """Average of a function of positions, ``(n,)``, or of an observable by name; of a region, its population.

        Raises
        ------
        ConfigError, DataError
            As of :func:`bayescg.analysis.predictive_check`.
        """
        (function,) = named_observables([observable], None, self.simulation)
        return self.average_of(evaluate(function, self.simulation), unit_of(function))

    def average_of(self, values: np.ndarray, unit: str = "") -> Quantity:
        """Average of numbers of the frames, ``(n,)``; where they are only 0 and 1, a population, which has visits.

        Raises
        ------
        DataError
            They are not one finite number for each frame.
        """
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (len(self.simulation),) or not np.isfinite(values).all():
            raise DataError(
                f"values of shape {values.shape} for {len(self.simulation)} frames: one finite number a frame is needed"
            )
        g = self.error.values.reshape(len(self.error), -1)
        averages = Averages(self.drawing, self.cell, g.shape[1], values[:, None])
        draws, whole = averages(g, np.arange(len(g)))[:, 0], averages.of_all(g)[:, 0]
        doubt, visits = self.doubt, ()
        if np.isin(values, (0.0, 1.0)).all():
            visits = tuple(entries(values == side, self.simulation) for side in (1.0, 0.0))
            if min(visits) < FEWEST and doubt is None:
                where = "the region" if visits[0] < FEWEST else "what lies outside of the region"
                doubt = f"{where} was entered {min(visits)} times, fewer than {FEWEST}: simulate longer"
        draws = draws.clip(values.min(), values.max())  # as Student's t does not
        return replace(quantity(draws, whole, unit, doubt), visits=visits)

    def kinetics(
        self,
        lag: float,
        states: Callable[..., Any] | None = None,
        a: Callable[..., Any] | None = None,
        b: Callable[..., Any] | None = None,
        modes: int = 1,
    ) -> dict[str, Quantity]:
        r"""Timescales, and rates between two sets, by the simulation's transitions at the ensemble's populations.

        Each draw has populations :math:`\pi` of states, those of the ensemble, and counts c of the simulation's
        transitions over the lag, resampled alike. Its matrix is the most probable one with detailed balance at them,

        .. math:: \max_P \sum_{ij} c_{ij} \ln P_{ij}, \qquad \pi_i P_{ij} = \pi_j P_{ji},

        that of augmented Markov models, by deeptime (extra ``bayescg[deeptime]``). Averages that were measured fix
        populations, and with them ratios of rates, :math:`k_{ab} / k_{ba} = \pi_b / \pi_a`, in every draw. They say
        nothing of barriers: how a change is split between the way there and the way back is a convention of maximum
        likelihood, by the counts of either, and intervals leave out how wrong it may be.

        Parameters
        ----------
        lag : float
            Of the transitions (ps, or the unit of a toy system): at most half of a timescale of the simulation, or this
            has no interval. The longer it is, the more the convention matters, since transitions by which a mode has
            decayed only repeat the simulation's populations. In Prinz's wells with an energy that was off by 1 kT,
            logarithms of the slowest timescale differed from those of the same diffusion in the right energy by .11
            (sd) at a 17th of that timescale, .24 at a quarter and .35 at half. It has to be long enough for states to
            forget where they were entered.
        states : callable, optional
            Whole numbers of positions, ``(n,)``. Default: the cells along the CVs in which the force field may be off,
            which of two CVs are hundreds, with few transitions each: give some ten.
        a, b : callable, optional
            Regions, of positions to bool ``(n,)``, of those states of which all frames are inside. Between them there
            are ``rate_ab``, ``rate_ba``, their inverses ``time_ab`` and ``time_ba``, mean first-passage times from
            where reactions begin, and ``population_a``: of sets that leave nothing out the population of `a`, of others
            the part of time in which it was visited last.
        modes : int
            How many timescales, ``timescale_1`` the slowest.

        Raises
        ------
        DataError
            Frames without time, under a bias or weighted, or of several potentials; no trajectory as long as the lag;
            states that no transitions connect.
        ConfigError
            Sets without states or that overlap; arguments that make no sense; deeptime is not installed.

        References
        ----------
        Olsson, Wu, Paul, Clementi, Noé, PNAS 114, 8265 (2017); for the matrix Trendelkamp-Schroer, Wu, Paul, Noé, J.
        Chem. Phys. 143, 174101 (2015).

        Examples
        --------
        >>> import bayescg as bcg
        >>> frames = bcg.sampling.overdamped(bcg.systems.QuarticDoubleWell(), 2000, dt=0.01, chains=20, stride=20)
        >>> x = lambda frames: frames[:, 0]
        >>> ensemble = bcg.analysis.experiments(frames, {"mean": (0.2, 0.1)}, {"mean": x}, x, draws=50, steps=50)
        >>> slow = ensemble.kinetics(0.2, a=lambda x: x[:, 0] < -0.8, b=lambda x: x[:, 0] > 0.8)
        >>> bool(np.allclose(slow["rate_ab"].draws * slow["time_ab"].draws, 1.0)), len(slow)
        (True, 6)
        """
        check_positive(lag=lag)
        check_counts(modes=(modes, 1))
        if (a is None) != (b is None):
            raise ConfigError("rates are between two sets: give a= and b=, or neither")
        frames = self.simulation
        numbers = self.cell if states is None else evaluate(states, frames)
        sets = None if a is None or b is None else (evaluate(a, frames) > 0, evaluate(b, frames) > 0)
        g = self.error.values.reshape(len(self.error), -1)
        steps = transitions(frames, self.drawing, self.cell, g, np.asarray(numbers), lag)
        return rate_quantities(steps, frames, self.drawing, lag, modes, sets, self.doubt)

    def __repr__(self) -> str:
        rows = [
            f"  {d.name:24s} measured {d.value:8.3g} ± {d.sd:.2g}, simulated {d.simulated.mean:8.3g}, "
            f"now {d.predicted.mean:8.3g} ± {d.predicted.sd:.2g} {d.unit}"
            for d in self.data
        ]
        warned = [f"  warning: {text}" for text in self.warnings]
        head = f"Ensemble of {len(self.frames)} frames, {self.effective:.0%} of the simulation's effective ones left"
        return "\n".join([head, *rows, *warned])


def entries(inside: np.ndarray, frames: Frames) -> int:
    """How often trajectories begin in a region or enter it; of frames without order, how many are in it."""
    if frames.order is None or frames.bias is not None:
        return int(inside.sum())
    first = np.r_[True, np.diff(frames.trajectory) != 0]
    return int((inside & (first | ~np.r_[False, inside[:-1]])).sum())


def quantity(draws: np.ndarray, of_all: np.ndarray, unit: str, doubt: str | None) -> Quantity:
    """Draws of an average as a quantity, `of_all` what they were if the simulation were exact."""
    parts = {"sampling": float((draws - of_all).std()), "parameter": float(of_all.std())}
    return Quantity.of(draws, unit, doubt, sd_by_source=parts)
