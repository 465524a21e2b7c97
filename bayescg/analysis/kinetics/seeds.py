"""Where to begin the next short trajectories, so that they tell most about a quantity of the slow dynamics."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescg.analysis.fit_checks import check_question
from bayescg.analysis.kinetics.covariances import runs
from bayescg.analysis.kinetics.spectrum import bases_of
from bayescg.arguments import check_positive
from bayescg.data import Frames
from bayescg.data.pairs import steps_of
from bayescg.errors import ConfigError, DataError
from bayescg.feeding.chunks import chunks

__all__ = ["Seeds", "next_seeds"]

_PRIOR = 0.02
_DRAWS = 16
_MANY = 200
_LARGEST_CORRELATION = 1 - 1e-9


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
    draws : ndarray, (200,)
        Of the quantity, from the frames that there are.
    expected_sd : float
        Of the quantity after the next trajectories, by a linearisation; NaN where nothing is known of some state.
    counts : ndarray, (states,)
        Lag times that trajectories spent in each state.
    crossings : (int, int)
        How often they went from one end of the slowest process to the other, and back.
    """

    index: np.ndarray
    state: np.ndarray
    quantity: str
    draws: np.ndarray
    expected_sd: float
    counts: np.ndarray
    crossings: tuple[int, int]

    @property
    def sd(self) -> float:
        """Of the quantity, from the frames that there are."""
        return float(self.draws.std(ddof=1))

    @property
    def states(self) -> int:
        """How many states were visited."""
        return int((self.counts > 0).sum())


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
    :math:`\partial Q / \partial P_{ij}` over :math:`j \sim P_i`. A trajectory of L lags from state s is expected to add
    :math:`V_{sj} = \sum_{t < L} (P^t)_{sj}` counts; seeds are taken one by one, each the best after those before, on
    average over 16 draws of P. A share of them begins in the states with the fewest counts instead, which finds what no
    trajectory has seen yet.

    Where trajectories begin does not enter the likelihood of the transitions: such rows stay right however seeds were
    chosen from earlier ones, which trajectories resampled as a whole do not. Do not stop by the standard deviation
    alone: runs that have not seen a well yet are sure of the others. At least ten `crossings` each way, and three
    rounds without a new state, go with it.

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
    check_question(frames, n=(n, 1), seed=(seed, 0))
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
    state = _states(fit, frames)
    count = int(state.max()) + 1
    counts = _transitions(state, whole.start, whole.stop, steps, count)
    held = np.bincount(state, minlength=count)
    of = _quantity(quantity, region, lag, held)
    rng = np.random.default_rng(seed)
    rows = counts + _PRIOR * ((counts + counts.T > 0) | np.eye(count, dtype=bool))
    visited = held > 0
    rows[~visited] = np.eye(count)[~visited]
    draws = [_drawn_rows(rows, rng) for _ in range(_MANY)]
    values = np.array([of(p)[0] for p in draws])
    if not np.isfinite(values).all():
        raise DataError(
            f"{quantity}: the frames do not define it, as trajectories connect too few states; simulate from more of "
            "them, or use fewer states"
        )
    n_i = counts.sum(1)
    weights, visits = zip(*((of(p)[1], _visits(p, max(1, round(length / lag)))) for p in draws[:_DRAWS]), strict=True)
    picked = _picked(np.array(weights), np.array(visits), n_i, visited, n, round(explore * n))
    index = np.array([rng.choice(np.flatnonzero(state == s)) for s in picked])
    added = n_i + np.mean(visits, 0)[picked].sum(0)
    before, after = (np.mean([(w[visited] / (c[visited] + 1)).sum() for w in weights]) for c in (n_i, added))
    slow = _slow_function(rows / rows.sum(1, keepdims=True))
    return Seeds(
        index=index,
        state=np.array(picked),
        quantity=quantity,
        draws=values,
        expected_sd=float(values.std(ddof=1) * np.sqrt(after / before)) if before > 0 else float("nan"),
        counts=held / steps,
        crossings=_crossings(slow[state], whole.start),
    )


def _states(fit: Any, frames: Frames) -> np.ndarray:
    """State of each frame, (n,)."""
    bases, like, _ = bases_of(fit)
    parts = []
    for x in chunks(frames, like):
        u = bases[0](x).detach().cpu().numpy()
        parts.append(u.argmax(1) if u.ndim == 2 else u.astype(np.int64))
    state = np.concatenate(parts)
    if state.shape != (len(frames),) or state.min() < 0:
        raise DataError("states are numbers from 0, one for each frame, or (n, states) of which each has the largest")
    return state


def _transitions(state: np.ndarray, start: np.ndarray, stop: np.ndarray, steps: int, count: int) -> np.ndarray:
    """Counts of pairs of frames so many apart, each one over their number in a lag, (states, states)."""
    first = np.arange(len(state) - steps) if len(state) > steps else np.zeros(0, int)
    run = np.searchsorted(stop, first, side="right")
    first = first[first + steps < stop[run]]
    if not len(first):
        raise DataError("no trajectory is as long as the lag: use a shorter one")
    return np.bincount(state[first] * count + state[first + steps], minlength=count**2).reshape(count, count) / steps


def _quantity(name: str, region: Any, lag: float, held: np.ndarray) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Function from P to a quantity and its variance for one more count from each state, (states,)."""
    match = re.fullmatch(r"log t([1-9]\d*)", name)
    visited = int((held > 0).sum())
    if match and visited <= int(match[1]):
        raise DataError(f"{name}: {visited} states were visited, and a timescale more than that is not defined")
    if match:
        return lambda p: _log_timescale(p, int(match[1]), lag, held > 0)
    if name != "logit p":
        raise ConfigError(f"quantity={name!r} is not known; use 'log t1', 'log t2', ..., or 'logit p' with region=")
    inside = np.zeros(len(held))
    if region is None or not np.isin(region, np.flatnonzero(held)).any():
        raise DataError(f"{name}: no visited state is in region={region!r}, so that its population is not defined")
    inside[np.intersect1d(region, np.arange(len(held)))] = 1.0
    if inside[held > 0].all():
        raise DataError(f"{name}: all visited states are in region={region!r}")
    return lambda p: _logit_population(p, inside, held > 0)


def _log_timescale(p: np.ndarray, mode: int, lag: float, seen: np.ndarray) -> tuple[float, np.ndarray]:
    q, out = p[np.ix_(seen, seen)], np.zeros(len(p))
    values, right = np.linalg.eig(q)
    order = np.argsort(-np.abs(values))
    k = order[mode]
    value = min(float(np.abs(values[k])), _LARGEST_CORRELATION)
    left = np.linalg.pinv(right)[k]
    if value <= 0:
        return float("nan"), out
    slopes = (np.conj(values[k]) / value * left[:, None] * right[:, k]).real  # of |value|, by the elements of P
    spread = (q * slopes**2).sum(1) - (q * slopes).sum(1) ** 2
    out[seen] = spread.clip(0) / (value * np.log(value)) ** 2
    return float(np.log(-lag / np.log(value))), out


def _logit_population(p: np.ndarray, inside: np.ndarray, seen: np.ndarray) -> tuple[float, np.ndarray]:
    q, out, a = p[np.ix_(seen, seen)], np.zeros(len(p)), inside[seen]
    m = len(q)
    try:
        pi = np.linalg.solve((np.eye(m) - q + np.ones((m, m))).T, np.ones(m))
        z = np.linalg.solve(np.eye(m) - q + np.outer(np.ones(m), pi), a)
    except np.linalg.LinAlgError:
        return float("nan"), out
    share = float(pi @ a)
    out[seen] = pi**2 * ((q @ z**2) - (q @ z) ** 2).clip(0) / (share * (1 - share)) ** 2
    return float(np.log(share / (1 - share))) if 0 < share < 1 else float("nan"), out


def _drawn_rows(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of probabilities, each Dirichlet; elements that are zero stay so."""
    gamma = rng.standard_gamma(rows)
    gamma[gamma.sum(1) <= 0] = rows[gamma.sum(1) <= 0]
    return gamma / gamma.sum(1, keepdims=True)


def _visits(p: np.ndarray, length: int) -> np.ndarray:
    """Expected counts (states, states) from each state that a trajectory adds, by where it begins."""
    total, power = np.zeros_like(p), np.eye(len(p))
    for _ in range(length):
        total += power
        power = power @ p
    return total


def _picked(
    weights: np.ndarray, visits: np.ndarray, counts: np.ndarray, seen: np.ndarray, n: int, explored: int
) -> list[int]:
    """States to begin in: those with the fewest counts, then greedily by the expected variance."""
    visited, now, states = np.flatnonzero(seen), counts.copy(), []
    for k in range(n):
        if k < explored:
            best = int(visited[np.argmin(now[visited])])
        else:
            after = now + visits[:, visited]
            gain = (weights[:, None] * (1 / (now + 1) - 1 / (after + 1))).sum(2).mean(0)
            best = int(visited[np.argmax(gain)])
        states.append(best)
        now = now + visits[:, best].mean(0)
    return states


def _slow_function(p: np.ndarray) -> np.ndarray:
    """Right eigenvector of the slowest process, (states,)."""
    values, right = np.linalg.eig(p)
    return np.real(right[:, np.argsort(-np.abs(values))[min(1, len(p) - 1)]])


def _crossings(slow: np.ndarray, start: np.ndarray) -> tuple[int, int]:
    """How often trajectories went from the lower to the upper third of a function's range, and back."""
    low, high = slow.min(), slow.max()
    if high <= low:
        return 0, 0
    side = np.where(slow > high - (high - low) / 3, 1, np.where(slow < low + (high - low) / 3, -1, 0))
    up = down = 0
    for part in np.split(side, start[1:]):
        ends = part[part != 0]
        change = np.diff(ends)
        up, down = up + int((change > 0).sum()), down + int((change < 0).sum())
    return up, down
