"""Where to begin the next short trajectories, so that they tell most about a quantity of the slow dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from bayescg.analysis.fit_checks import check_question
from bayescg.analysis.kinetics.chain_quantities import chain_quantity
from bayescg.analysis.kinetics.covariances import runs
from bayescg.analysis.kinetics.spectrum import bases_of
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_positive
from bayescg.data import Frames
from bayescg.data.pairs import steps_of
from bayescg.data.store import ROWS
from bayescg.errors import ConfigError, DataError
from bayescg.feeding.chunks import chunks

__all__ = ["Seeds", "next_seeds", "seeds_or_why"]

_PRIOR = 0.02
_DRAWS = 16
_MANY = 200
_CROSSINGS, _QUIET = 10, 3


@dataclass(frozen=True)
class Seeds:
    """Frames to begin the next trajectories from.

    Attributes
    ----------
    index : ndarray of int, (n,)
        Into the frames.
    state : ndarray of int, (n,)
        States of these.
    quantity : str
    value : float
        Of the quantity, at the expected probabilities.
    draws : ndarray, (200,)
        Of the quantity, from the frames that there are.
    expected_sd : float
        Of the quantity after the next trajectories, by a linearisation; NaN where nothing is known of some state.
    counts : ndarray, (states,)
        Lag times that trajectories spent in each state.
    entered : ndarray of int, (states,)
        Number, from 0, of the trajectory that was first in each state; -1: none was.
    crossings : (int, int)
        How often trajectories went from one end of the process in question to the other, and back; of populations, it
        is the slowest.
    warning : str or None
        Why the frames do not define the quantity; `value` and `draws` are then NaN, and all seeds are in the states
        with the fewest counts.
    """

    index: np.ndarray
    state: np.ndarray
    quantity: str
    value: float
    draws: np.ndarray
    expected_sd: float
    counts: np.ndarray
    entered: np.ndarray
    crossings: tuple[int, int]
    warning: str | None = None

    @property
    def sd(self) -> float:
        """Of the quantity, from the frames that there are."""
        return float(self.draws.std(ddof=1))

    @property
    def states(self) -> int:
        """How many states were visited."""
        return int((self.counts > 0).sum())

    def estimate(self, rounds: Sequence[int]) -> Quantity:
        """The quantity, with an interval where it may be believed.

        A well that no trajectory has seen is missed in silence: an interval takes ten crossings of the process each
        way, and three rounds without a new state.

        Parameters
        ----------
        rounds : sequence of int
            How many of the trajectories each round had.
        """
        up, down = self.crossings
        quiet = len(rounds) - 1 - int(np.searchsorted(np.cumsum(rounds), self.entered.max(), side="right"))
        why = self.warning
        if why is None and min(up, down) < _CROSSINGS:
            why = f"the process was crossed {up} times one way and {down} the other: {_CROSSINGS} each way are needed"
        elif why is None and quiet < _QUIET:
            why = f"a state was new {quiet} rounds ago: {_QUIET} without are needed"
        return replace(Quantity.of(self.draws, "", why, visits=(up, down)), mean=self.value)


def next_seeds(
    fit: Any,
    frames: Frames,
    quantity: str = "log t1",
    n: int = 10,
    length: float | None = None,
    *,
    lag: float | None = None,
    region: Sequence[int] | None = None,
    explore: float = 0.5,
    seed: int = 0,
) -> Seeds:
    r"""Frames from which n trajectories are expected to reduce the posterior variance of a quantity most.

    States follow each other in a lag with probabilities :math:`P_i \sim` Dirichlet, counts of transitions plus 0.02 for
    each pair of states that was seen in either direction. To first order, the variance of a quantity Q is
    :math:`\sum_i q_i / (n_i + 1)` with n_i the counts from state i and :math:`q_i` the variance of
    :math:`\partial Q / \partial P_{ij}` over :math:`j \sim P_i`; for a timescale, Q is the eigenvalue. A trajectory of
    L lags from state s is expected to add :math:`V_{sj} = \sum_{t < L} (P^t)_{sj}` counts; seeds are taken one by one,
    each the best after those before, on average over 16 draws of P. A share of them begins in the states with the
    fewest counts instead, which finds what no trajectory has seen yet.

    Where trajectories begin does not enter the likelihood of the transitions: such rows stay right however seeds were
    chosen from earlier ones, which trajectories resampled as a whole do not. Do not stop by the standard deviation
    alone: runs that have not seen a well yet are sure of the others. `Seeds.estimate` asks for crossings and rounds
    without a new state as well.

    Parameters
    ----------
    fit : Fit, Model or callable
        With a ``basis`` of soft states, of which a frame is in the largest; or a function from positions to that, (n,
        states), or to the numbers of the states, (n,).
    frames : Frames
        All trajectories so far, wherever they began.
    quantity : str
        ``"log t1"``, ``"log t2"``, ... of implied timescales; or ``"logit p"`` of the population of `region`.
    n : int
    length : float, optional
        Of the next trajectories (ps, or the unit of a toy system); default: the median of those that there are.
    lag : float, optional
        Of the transitions; default: that of the fit, or the time between frames.
    region : sequence of int, optional
        States.
    explore : float
        Share of the seeds in the states with the fewest counts.
    seed : int

    Raises
    ------
    ConfigError
        A quantity that is not known, or an argument out of range.
    DataError
        A quantity that the frames do not define: too few states that trajectories connect; frames without a time axis.

    References
    ----------
    N. Singhal Hinrichs, V. S. Pande, "Calculation of the distribution of eigenvalues and eigenvectors in Markovian
    state models for molecular dynamics", J. Chem. Phys. 126, 244101 (2007), for the variance; with a look ahead over
    trajectories.

    Examples
    --------
    >>> import bayescg as bcg, torch
    >>> starts = np.full((10, 1), -1.0)
    >>> frames = bcg.sampling.overdamped(bcg.systems.QuarticDoubleWell(), 600, dt=0.01, starts=starts, stride=10)
    >>> cells = lambda x: torch.bucketize(x[:, 0].contiguous(), torch.linspace(-1.5, 1.5, 9))
    >>> seeds = next_seeds(cells, frames, "log t1", n=4)
    >>> len(seeds.index), bool(seeds.expected_sd < seeds.sd)
    (4, True)
    """
    seeds = seeds_or_why(fit, frames, quantity, n, length, lag=lag, region=region, explore=explore, seed=seed)
    if seeds.warning is not None:
        raise DataError(seeds.warning)
    return seeds


def seeds_or_why(
    fit: Any,
    frames: Frames,
    quantity: str,
    n: int,
    length: float | None = None,
    *,
    lag: float | None = None,
    region: Sequence[int] | None = None,
    explore: float = 0.5,
    seed: int = 0,
) -> Seeds:
    """As :func:`next_seeds`, but a quantity that the frames do not define is no error: `Seeds.warning` says why."""
    check_question(frames, n=(n, 1), seed=(seed, 0))
    if n > len(frames):
        raise ConfigError(f"n={n} seeds are more than the {len(frames)} frames to choose them from")
    if not 0 <= explore <= 1:
        raise ConfigError(f"explore={explore!r} is a share, from 0 to 1")
    if frames.dt is None or frames.order is None:
        raise DataError("these frames have no time axis, so there is no lag: give dt= where they are loaded")
    whole = runs(frames)
    every = frames.dt * whole.step
    lag = float(lag or getattr(getattr(fit, "model", fit), "lag", None) or every)
    steps = steps_of(lag, every)
    length = float(length or np.median(whole.stop - whole.start) * every)
    check_positive(length=length)
    number = _states(fit, frames)
    held = np.bincount(number)
    visited = np.flatnonzero(held)
    state = (np.cumsum(held > 0, dtype=np.int32) - 1)[number]  # among those that were visited
    counts = _transitions(state, whole.start, whole.stop, steps, len(visited))
    asked_of = chain_quantity(quantity, region, lag, visited)
    rng = np.random.default_rng(seed)
    pairs = (counts + counts.T > 0) | np.eye(len(visited), dtype=bool)
    rows = counts + _PRIOR * pairs
    expected = rows / rows.sum(1, keepdims=True)
    warning = asked_of.undefined() or _apart(pairs, visited)
    draws, value = np.full(_MANY, np.nan), float("nan")
    weights = np.zeros((1, len(visited)))
    visits = _visits(expected[None], max(1, round(length / lag)))
    if warning is None:
        p = _drawn_rows(rows, rng)
        draws, value = asked_of.values(p), float(asked_of.values(expected[None])[0])
        weights, visits = asked_of.spreads(p[:_DRAWS]), _visits(p[:_DRAWS], max(1, round(length / lag)))
    n_i = counts.sum(1)
    picked = _picked(weights, visits, n_i, n, n if warning else round(explore * n))
    index = _frames_in(picked, state, rng)
    after = n_i + visits.mean(0)[picked].sum(0)
    entered = np.full(len(held), -1)
    entered[visited] = np.searchsorted(whole.stop, _first_frames(state, len(visited)), side="right")
    was, will_be = ((weights / (c + 1)).sum() for c in (n_i, after))
    return Seeds(
        index=index,
        state=visited[picked],
        quantity=quantity,
        value=value,
        draws=draws,
        expected_sd=float(draws.std(ddof=1) * np.sqrt(will_be / was)) if was > 0 else float("nan"),
        counts=held / steps,
        entered=entered,
        crossings=_crossings(_thirds(_slow_function(expected, asked_of.mode))[state], whole.start),
        warning=warning,
    )


def _states(fit: Any, frames: Frames) -> np.ndarray:
    """State of each frame, (n,)."""
    bases, like, _ = bases_of(fit)
    parts = []
    for x in chunks(frames, like):
        u = bases[0](x).detach().cpu().numpy()
        parts.append(u.argmax(1).astype(np.int32) if u.ndim == 2 else u.astype(np.int64))
    state = np.concatenate(parts)
    if state.shape != (len(frames),) or state.min() < 0:
        raise DataError("states are numbers from 0, one for each frame, or (n, states) of which each has the largest")
    return state


def _transitions(state: np.ndarray, start: np.ndarray, stop: np.ndarray, steps: int, count: int) -> np.ndarray:
    """Counts of pairs of frames so many apart, each one over their number in a lag, (states, states)."""
    total = np.zeros(count**2, np.int64)
    for begin in range(0, len(state) - steps, ROWS):
        now = np.arange(begin, min(begin + ROWS, len(state) - steps))
        now = now[now + steps < stop[np.searchsorted(stop, now, side="right")]]
        total += np.bincount(state[now].astype(np.int64) * count + state[now + steps], minlength=count**2)
    if not total.any():
        raise DataError("no trajectory is as long as the lag: use a shorter one")
    return total.reshape(count, count) / steps


def _apart(pairs: np.ndarray, visited: np.ndarray) -> str | None:
    """Why states that no trajectory connects define neither timescales nor populations."""
    parts, part = connected_components(pairs, directed=False)
    if parts == 1:
        return None
    a, b = (int(visited[np.argmax(part == k)]) for k in (0, 1))
    return (
        f"trajectories connect too few states: {parts} groups of them are apart, of which {a} and {b} are; simulate "
        "from more of them, or use fewer states"
    )


def _drawn_rows(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Matrices (200, states, states) whose rows are Dirichlet; elements that are zero stay so."""
    gamma = rng.standard_gamma(np.broadcast_to(rows, (_MANY, *rows.shape)))
    gamma = np.where(gamma.sum(2, keepdims=True) > 0, gamma, rows)  # of few counts, all may be too small for a number
    return gamma / gamma.sum(2, keepdims=True)


def _visits(p: np.ndarray, length: int) -> np.ndarray:
    """Expected counts (draws, states, states) that a trajectory adds from each state, by where it begins."""
    total, power = np.zeros_like(p), np.broadcast_to(np.eye(p.shape[1]), p.shape)
    for _ in range(length):
        total += power
        power = power @ p
    return total


def _first_frames(state: np.ndarray, count: int) -> np.ndarray:
    """The first frame of each state, (count,)."""
    first = np.zeros(count, np.int64)
    for begin in reversed(range(0, len(state), ROWS)):
        part = state[begin : begin + ROWS][::-1]
        first[part] = begin + np.arange(len(part))[::-1]  # of several frames of a state, the last one assigned stays
    return first


def _frames_in(states: np.ndarray, state_of: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A frame of each state, of those that are there more than once another one each time, as long as there are."""
    index = np.empty(len(states), dtype=np.int64)
    for state in np.unique(states):
        places, frames = np.flatnonzero(states == state), np.flatnonzero(state_of == state)
        index[places] = rng.choice(frames, len(places), replace=len(places) > len(frames))
    return index


def _picked(weights: np.ndarray, visits: np.ndarray, counts: np.ndarray, n: int, explored: int) -> np.ndarray:
    """States to begin in: those with the fewest counts, then greedily by the expected variance."""
    now, states = counts.copy(), []
    for k in range(n):
        if k < explored:
            best = int(np.argmin(now))
        else:
            gain = (weights[:, None] * (1 / (now + 1) - 1 / (now + visits + 1))).sum(2).mean(0)
            best = int(np.argmax(gain))
        states.append(best)
        now = now + visits[:, best].mean(0)
    return np.array(states)


def _slow_function(p: np.ndarray, mode: int) -> np.ndarray:
    """Right eigenvector of a mode, (states,)."""
    values, right = np.linalg.eig(p)
    return np.real(right[:, np.argsort(-np.abs(values))[min(mode, len(p) - 1)]])


def _thirds(slow: np.ndarray) -> np.ndarray:
    """-1 in the lower third of a function's range, 1 in the upper one, else 0."""
    low, high = slow.min(), slow.max()
    third = (high - low) / 3
    return (slow > high - third).astype(np.int8) - (slow < low + third)


def _crossings(side: np.ndarray, start: np.ndarray) -> tuple[int, int]:
    """How often trajectories went from the lower to the upper third of a function's range, and back."""
    up = down = 0
    for part in np.split(side, start[1:]):
        ends = part[part != 0]
        change = np.diff(ends)
        up, down = up + int((change > 0).sum()), down + int((change < 0).sum())
    return up, down
