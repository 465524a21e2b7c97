"""Timescales and rates at populations that are not the simulation's: reversible Markov matrices that have these."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bayescg.analysis.drift import beginnings
from bayescg.analysis.free_energy.sparse import FEWEST
from bayescg.analysis.kinetics.covariances import runs
from bayescg.analysis.kinetics.spectrum import LEAST_RELAXATIONS
from bayescg.analysis.quantity import Quantity
from bayescg.analysis.resampled import OfPotentials, Resampled
from bayescg.data.pairs import steps_of
from bayescg.errors import ConfigError, DataError

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["Transitions", "rate_quantities", "reversible", "transitions"]

_SMALLEST = 1e-9
_CONVERGED = 1e-6
_SHORT = 2.0
"""Lags that a timescale of the simulation has to last."""


class Transitions(NamedTuple):
    """States, their sums of weights and counts of transitions, of all frames and in draws.

    Attributes
    ----------
    state : ndarray of int, (n,)
        Of each frame, from 0, without gaps.
    mass : tuple of ndarray, (draws, states)
        Unnormalised populations: of all frames, with each draw's error of the force field, and in draws of them.
    rows, columns : ndarray of int, (pairs,)
        Of the pairs of states that follow each other.
    counts : tuple of ndarray, (1 or draws, pairs)
        Of all frames, and in draws.
    alone : tuple of ndarray
        Transition matrix (states, states) and populations (states,) of the simulation alone.
    every : float
        Between frames.
    """

    state: np.ndarray
    mass: tuple[np.ndarray, np.ndarray]
    rows: np.ndarray
    columns: np.ndarray
    counts: tuple[np.ndarray, np.ndarray]
    alone: tuple[np.ndarray, np.ndarray]
    every: float

    def matrices(self, draw: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Transition matrix (states, states) and populations (states,) of a draw's error: by all frames, and drawn."""
        return [
            _matrix(mass[draw], self.rows, self.columns, counts[draw % len(counts)])
            for mass, counts in zip(self.mass, self.counts, strict=True)
        ]


def transitions(
    frames: Frames, drawing: Resampled, cell: np.ndarray, g: np.ndarray, states: np.ndarray, lag: float
) -> Transitions:
    """Transitions over a lag between `states` (n,) of frames, which weigh exp(-g), g (draws, cells).

    Raises
    ------
    DataError
        There is no time, no trajectory of its own, or no trajectory as long as the lag; states are not connected, or
        have no weight.
    """
    if frames.dt is None or frames.order is None:
        raise DataError("these frames have no time axis, so there is no lag: give dt= where they are loaded")
    weighted = frames.koopman is None and frames.weights is not None and np.ptp(frames.weights) > 0
    if frames.bias is not None or weighted:
        raise DataError(
            "frames under a bias, or weighted ones, move as the simulation made them, and have no rates: use "
            "trajectories without; wherever these begin, frames.equilibrium(fit, lag=...) makes weights for pairs"
        )
    if isinstance(drawing, OfPotentials):
        raise DataError("frames of several draws of a potential have as many dynamics: ask those of a single one")
    if states.shape != (len(frames),) or (states != np.rint(states)).any():
        raise DataError("states= gives no whole numbers, one for each frame: cut a CV, with torch.bucketize say")
    number, state = np.unique(states, return_inverse=True)
    size = len(number)
    whole = runs(frames)
    every = frames.dt * whole.step
    steps = steps_of(lag, every)
    ends = np.repeat(whole.stop, whole.stop - whole.start)
    now = np.flatnonzero(np.arange(len(frames)) + steps < ends)
    if not len(now):
        raise DataError(f"no trajectory is longer than the lag {lag:g}: use a shorter one, or longer trajectories")
    pairs, pair = np.unique(state[now] * size + state[now + steps], return_inverse=True)
    rows, columns = np.divmod(pairs, size)
    parts, part = connected_components(coo_matrix((pairs * 0 + 1, (rows, columns)), (size, size)), directed=False)
    if size < 2 or parts > 1:
        alone = f"{parts} groups of them are apart, of which {number[0]} and {number[np.argmax(part > 0)]} are"
        raise DataError(
            f"trajectories connect too few states within the lag {lag:g}: "
            f"{'there is only one' if size < 2 else alone}; use fewer states, or simulate longer"
        )
    held = coo_matrix((np.ones(len(now)), (drawing.block_of[now], pair)), (drawing.blocks, len(pairs))).tocsr()
    places, place = np.unique(state * g.shape[1] + cell, return_inverse=True)
    of_state, of_cell = np.divmod(places, g.shape[1])
    tilt = np.exp(-(g - g.min(1, keepdims=True)))[:, of_cell]
    first = np.flatnonzero(np.r_[True, np.diff(of_state) != 0])
    sums = drawing.sums(place, len(places))
    mass: Any = tuple(np.add.reduceat(tilt * part, first, axis=1) for part in sums)
    if (empty := np.flatnonzero((np.minimum(*mass) <= 0).any(0))).size:
        raise DataError(f"state {number[empty[0]]} has no weight, or a negative one: use fewer, larger states")
    counts = held.sum(0)[None], drawing.weights @ held
    alone = _matrix(np.add.reduceat(sums[0], first), rows, columns, counts[0][0])
    return Transitions(state, mass, rows, columns, counts, alone, every)


def _matrix(
    mass: np.ndarray, rows: np.ndarray, columns: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    pi = mass / mass.sum()
    dense = np.zeros((len(pi), len(pi)))
    dense[rows, columns] = counts
    return reversible(dense, pi), pi


def reversible(counts: np.ndarray, pi: np.ndarray) -> np.ndarray:
    """The most probable transition matrix that is reversible at populations pi (states,); by deeptime.

    Raises
    ------
    ConfigError
        deeptime is not installed.
    DataError
        The equations are not solved.

    Examples
    --------
    >>> reversible(np.array([[8.0, 2.0], [2.0, 8.0]]), np.array([0.5, 0.5])).round(6)
    array([[0.8, 0.2],
           [0.2, 0.8]])
    """
    try:
        from deeptime.markov.tools.estimation import transition_matrix
    except ImportError as error:
        raise ConfigError("rates are by deeptime, which is not installed: pip install 'bayescg[deeptime]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how far it came is seen below
        p: Any = transition_matrix(counts, reversible=True, mu=pi)
    flux = pi[:, None] * p
    if not np.isfinite(p).all() or np.abs(p.sum(1) - 1).max() > _CONVERGED or np.abs(flux - flux.T).max() > _CONVERGED:
        raise DataError("no reversible matrix of these populations comes to an end: use fewer states or a longer lag")
    return p


def rate_quantities(
    found: Transitions,
    frames: Frames,
    drawing: Resampled,
    lag: float,
    modes: int,
    sets: tuple[np.ndarray, np.ndarray] | None,
    doubt: str | None,
) -> dict[str, Quantity]:
    """Timescales, and rates between two sets of frames (n,), of which a state is in one if all its frames are.

    Raises
    ------
    ConfigError
        There are not as many modes, or the sets overlap or are without states.
    """
    size = len(found.mass[0][0])
    if modes >= size:
        raise ConfigError(f"modes={modes} of {size} states: at most {size - 1} are defined")
    held = np.bincount(found.state)
    a, b = (np.bincount(found.state, inside) == held for inside in sets or 2 * (np.zeros(len(frames)),))
    if sets is not None and ((a & b).any() or not (a.any() and b.any())):
        empty = "overlap" if (a & b).any() else f"have no state: none is all in {'a' if not a.any() else 'b'}"
        raise ConfigError(f"the sets {empty}; choose other sets, or smaller states")
    values = np.stack([[_values(p, pi, lag, a, b) for p, pi in found.matrices(d)] for d in range(len(found.mass[0]))])
    whole, each = values[:, 0], values[:, 1]
    moved = whole + drawing.factors[:, None] * (each - whole)
    simulated, slow = np.linalg.eigh(_symmetric(*found.alone))
    lasting = -lag / np.log(simulated[-2::-1].clip(_SMALLEST, 1 - _SMALLEST))
    doubt = doubt or beginnings((slow[:, -2] / np.sqrt(found.alone[1]))[found.state][:, None], frames)
    span = len(frames) * found.every / lasting[0]
    if doubt is None and span < LEAST_RELAXATIONS:
        doubt = (
            f"the slowest mode relaxes about {span:.2g} times in these frames, fewer than the {LEAST_RELAXATIONS} from "
            "which intervals are trusted: simulate longer"
        )
    unit = "ps" if frames.unit == "nm" else ""
    short = [
        f"in the simulation mode {k + 1} relaxes within {t:.3g}, and the lag is {lag:g}: use one of at most half of it"
        if t < _SHORT * lag
        else doubt
        for k, t in enumerate(lasting)
    ]
    quantities = {
        f"timescale_{k + 1}": _quantity(moved[:, k], whole[:, k], unit, short[k]) for k in range(modes)
    }  # fmt: skip
    doubt = short[0]
    if sets is None:
        return quantities
    visits = _crossings(a[found.state], b[found.state], frames)
    if doubt is None and min(visits) < FEWEST:
        doubt = f"trajectories went from a to b {visits[0]} times and back {visits[1]} times, fewer than {FEWEST}"
    (ab, ba), (ab_of_all, ba_of_all) = moved[:, -2:].T, whole[:, -2:].T
    per = f"1/{unit}" if unit else ""
    for name, of, of_all, u in (
        ("rate_ab", ab, ab_of_all, per), ("rate_ba", ba, ba_of_all, per), ("time_ab", -ab, -ab_of_all, unit),
        ("time_ba", -ba, -ba_of_all, unit), ("population_a", -np.log1p(np.exp(ab - ba)),
         -np.log1p(np.exp(ab_of_all - ba_of_all)), ""),
    ):  # fmt: skip
        quantities[name] = replace(_quantity(of, of_all, u, doubt), visits=visits)
    return quantities


def _quantity(logs: np.ndarray, of_all: np.ndarray, unit: str, doubt: str | None) -> Quantity:
    """Of logarithms in draws, `of_all` what they were if the simulation were exact."""
    draws, narrow = np.exp(logs), np.exp(of_all)
    parts = {"sampling": float((draws - narrow).std()), "parameter": float(narrow.std())}
    return Quantity.of(draws, unit, doubt, sd_by_source=parts)


def _values(p: np.ndarray, pi: np.ndarray, lag: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Logarithms of all timescales, the slowest first, and of the rates between sets, if they have states."""
    correlations = np.linalg.eigvalsh(_symmetric(p, pi))[-2::-1]
    logs = np.log(-lag / np.log(correlations.clip(_SMALLEST, 1 - _SMALLEST)))
    if not a.any():
        return logs
    q, between = b.astype(float), ~(a | b)
    q[between] = np.linalg.solve((np.eye(len(pi)) - p)[np.ix_(between, between)], p[between] @ q)
    there, back = (pi * a) @ p @ q, (pi * b) @ p @ (1 - q)
    return np.r_[logs, np.log(there / (pi @ (1 - q)) / lag), np.log(back / (pi @ q) / lag)]


def _symmetric(p: np.ndarray, pi: np.ndarray) -> np.ndarray:
    root = np.sqrt(pi)
    flux = root[:, None] * p / root
    return 0.5 * (flux + flux.T)


def _crossings(a: np.ndarray, b: np.ndarray, frames: Frames) -> tuple[int, int]:
    """How often trajectories went from a set of frames (n,) to another, and back."""
    inside = np.flatnonzero(a | b)
    follows = np.diff(frames.trajectory[inside]) == 0
    change = np.diff(b[inside].astype(int))[follows]
    return int((change > 0).sum()), int((change < 0).sum())
