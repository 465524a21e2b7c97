"""Simulations under several biases or temperatures as one: MBAR, and TRAM where they are not in global equilibrium."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm
from scipy.stats import t as student

from bayescg.analysis.block_bootstrap import inflation
from bayescg.analysis.evaluation import evaluate, label, unit_of
from bayescg.analysis.free_energy.ensembles import binned, check_overlap, paths_of, pooled, tram
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts
from bayescg.data import Frames
from bayescg.data.mbar import mbar
from bayescg.errors import ConfigError, DataError

__all__ = ["MultiEnsemble", "multi_ensemble"]

ESTIMATORS = ("tram", "mbar")
_FEWEST = 10
_MOST = 3.0


@dataclass(frozen=True, eq=False)
class MultiEnsemble:
    """What :func:`multi_ensemble` returns.

    Attributes
    ----------
    frames : Frames
        All frames, with their weights in the reference ensemble.
    weights : ndarray, (draws, n)
        The same in each draw, of sum 1.
    free_energies : ndarray, (draws, ensembles)
        In kT, that of the first ensemble zero.
    estimator : {"tram", "mbar"}
    drift : float
        By how many standard deviations the two halves of the trajectories differ at most, as of a single test.
    trajectories : int
        In the ensemble that has fewest.
    """

    frames: Any
    weights: np.ndarray
    free_energies: np.ndarray
    estimator: str
    drift: float
    trajectories: int
    seed: int = 0

    def probability(self, region: Callable[..., Any]) -> Quantity:
        """Of a region in the reference ensemble, its draws made on the logit scale.

        Parameters
        ----------
        region : callable
            Of positions ``(n, atoms, 3)`` or ``(n, dim)``; ``(n,)`` of True and False.

        Raises
        ------
        ConfigError
            It gives something else.
        """
        values = evaluate(region, self.frames)
        inside = values > 0
        if values.ndim != 1 or (values != inside).any():
            raise ConfigError(
                f"{label(region)} does not say whether a frame is in the region: give a function to (n,) of True and "
                "False, such as lambda x: x[:, 0] > 0"
            )
        visits = tuple(len(np.unique(self.frames.trajectory[side])) for side in (inside, ~inside))
        few = None
        if min(visits) < _FEWEST:
            few = f"{visits[0]} trajectories were in the region and {visits[1]} outside: {_FEWEST} of either are needed"
        share = self.weights @ inside
        if not (share * (1 - share)).all():
            return Quantity.of(share, "", few or "a draw has all its weight on one side of the region", visits=visits)
        draws, narrow = self._moved(logit(share), logit(self.frames.weights @ inside))
        return Quantity.of(expit(draws), "", few, expit(narrow), visits=visits)

    def average(self, observable: Callable[..., Any]) -> Quantity:
        """Of an observable, of positions as in `probability`, in the reference ensemble."""
        values = evaluate(observable, self.frames)
        draws, narrow = self._moved(self.weights @ values, self.frames.weights @ values)
        return Quantity.of(draws, unit_of(observable), narrow=narrow)

    def _moved(self, draws: np.ndarray, estimate: float) -> tuple[np.ndarray, np.ndarray]:
        """About the estimate less its bias, as draws differ from it: with Student's tails, and without.

        Drawing with replacement loses a part 1 / n of the variance.
        """
        n, apart = self.trajectories, draws - draws.mean()
        centre, wide = 2 * estimate - draws.mean(), inflation(n, len(draws), self.seed) * (n / (n + 1)) ** 0.5
        return centre + wide * apart, centre + (n / (n - 1)) ** 0.5 * apart


def multi_ensemble(
    ensembles: Frames | Sequence[Frames],
    states: Callable[..., Any] | None = None,
    *,
    lag: float | None = None,
    bins: int = 20,
    estimator: str = "tram",
    draws: int = 100,
    seed: int = 0,
) -> MultiEnsemble:
    r"""One sample of the unbiased ensemble from simulations under several biases, or at several temperatures.

    MBAR takes every ensemble to be in global equilibrium. TRAM only takes frames of one state and one ensemble to be
    so among themselves: it maximises

    .. math:: \prod_{k,i,j} (p^k_{ij})^{c^k_{ij}} \prod_{k,i} \prod_{x \in (i,k)} \mu(x)\, e^{f^k_i - b^k(x)},
              \qquad e^{-f^k_i} p^k_{ij} = e^{-f^k_j} p^k_{ji},

    with counts c of transitions over a lag, so that trajectories may begin anywhere. It is deeptime's (extra
    ``bayescg[deeptime]``). Draws resample whole trajectories within their ensembles and estimate anew; intervals have
    Student's tails, and the bootstrap's estimate of the bias is taken off, of probabilities on the logit scale.

    Parameters
    ----------
    ensembles : Frames or sequence of Frames
        With ``bias``, whose windows are the ensembles, the same in all of them; the reference is without bias. Or of
        one temperature each, with ``energy``: the reference is at that of the first.
    states : callable, optional
        Of positions ``(n, atoms, 3)`` or ``(n, dim)``: a CV ``(n,)``, cut into `bins` of equal widths, or whole
        numbers, the states themselves. TRAM needs it, and the halves of trajectories are compared by it.
    lag : float, optional
        At which TRAM counts transitions.
    bins : int
    estimator : {"tram", "mbar"}
    draws, seed : int

    Raises
    ------
    DataError
        Frames have no bias or energies, or those of other ensembles; two ensembles do not overlap; an ensemble has
        fewer than 10 trajectories; of MBAR, the halves of trajectories differ by more than three standard deviations
        (of a single test: with more of them a chance is no rarer); TRAM does not converge.
    ConfigError
        An argument is out of range, TRAM has no states or no lag, or deeptime is not installed.

    References
    ----------
    Shirts, Chodera, J. Chem. Phys. 129, 124105 (2008), eqs. (11) and (13). Wu, Paul, Wehmeyer, Noé, PNAS 113, E3221
    (2016), eqs. (3)-(6).

    Examples
    --------
    >>> from bayescg.data import Bias
    >>> rng, ensembles = np.random.default_rng(0), []
    >>> for k in range(2):  # harmonic, and twice as wide by a bias
    ...     x = rng.normal(scale=1 + k, size=2000)
    ...     bias = Bias(window=np.full(2000, k), energies=np.stack([0 * x, -0.375 * x**2], 1))
    ...     trajectory = np.arange(2000) // 100
    ...     settings = {"unit": "reduced", "dt": 1.0, "temperature_kT": 1.0, "trajectory": trajectory, "bias": bias}
    ...     ensembles.append(Frames.from_numpy(x[:, None], **settings))
    >>> answer = multi_ensemble(ensembles, estimator="mbar", draws=50)
    >>> below = answer.probability(lambda x: x[:, 0] < -1)
    >>> bool(abs(below.mean - 0.1587) < 4 * below.sd)
    True
    """
    check_counts(draws=(draws, 2), seed=(seed, 0), bins=(bins, 2))
    if estimator not in ESTIMATORS:
        raise ConfigError(f"estimator={estimator!r} is not known; use 'tram' or 'mbar'")
    if estimator == "tram" and (states is None or lag is None):
        raise ConfigError("TRAM counts transitions: give states=, a CV or states of positions, and lag=")
    frames = pooled([ensembles] if isinstance(ensembles, Frames) else list(ensembles))
    check_overlap(frames.bias)
    stratum = _strata(frames)
    few = int(np.unique(stratum, return_counts=True)[1].min())
    cv = None if states is None else evaluate(states, frames)
    drift = _drift(frames, stratum, cv)
    if estimator == "mbar" and drift > _MOST:
        raise DataError(
            f"the first and second halves of the trajectories differ by {drift:.1f} standard deviations: the "
            "ensembles are not in global equilibrium, which MBAR takes them to be. Use estimator='tram', which does "
            "not, leave out what comes before equilibrium, or simulate longer"
        )
    if estimator == "mbar":
        estimate = partial(_mbar, frames)
    else:
        assert cv is not None and lag is not None  # noqa: PT018
        estimate = partial(tram, paths_of(frames, binned(cv, bins), lag))
    rng, rows = np.random.default_rng(seed), []
    for _ in range(draws):
        counts = np.zeros(len(stratum), dtype=int)
        for kind in np.unique(stratum):
            members = np.flatnonzero(stratum == kind)
            counts[members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)))
        rows.append(estimate(counts))
    weights, f = (np.stack(part) for part in zip(*rows, strict=True))
    frames = replace(frames, weights=estimate(np.ones(len(stratum), dtype=int))[0], bias=None)
    return MultiEnsemble(frames, weights, f - f[:, :1], estimator, drift, few, seed)


def _mbar(frames: Any, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of frames, and free energies of ensembles, where trajectories count so often."""
    each = counts[frames.trajectory].astype(np.float64)
    log_weights, f = mbar(frames.bias.energies, frames.bias.window, each)
    return np.exp(log_weights) * each, f


def _strata(frames: Any) -> np.ndarray:
    """Number of the set of ensembles that each trajectory went through.

    Raises
    ------
    DataError
        Fewer than 10 trajectories went through one.
    """
    of = [frozenset(frames.bias.window[frames.trajectory == k]) for k in range(int(frames.trajectory.max()) + 1)]
    kinds = list(dict.fromkeys(of))
    for kind in kinds:
        if of.count(kind) < _FEWEST:
            where = ", ".join(str(k) for k in sorted(kind))
            raise DataError(
                f"{of.count(kind)} trajectories went through ensemble {where}: fewer than {_FEWEST} cannot show how "
                "far an estimate is to be trusted; give more, or number them by trajectory="
            )
    return np.array([kinds.index(kind) for kind in of])


def _drift(frames: Any, stratum: np.ndarray, cv: np.ndarray | None) -> float:
    """Largest difference of the halves of trajectories, in standard deviations of a single test."""
    columns = frames.bias.energies if cv is None else np.c_[frames.bias.energies, cv.reshape(len(frames), -1)]
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    place = np.arange(len(frames)) - np.flatnonzero(np.r_[True, np.diff(frames.trajectory) != 0])[frames.trajectory]
    length = np.bincount(frames.trajectory)
    later = place >= (length // 2)[frames.trajectory]
    halves = [
        np.stack([np.bincount(frames.trajectory[half], c[half], len(length)) for c in columns.T], 1)
        / np.bincount(frames.trajectory[half], minlength=len(length))[:, None]
        for half in (~later, later)
        if length.min() > 1
    ]
    if not halves or not columns.shape[1]:
        return 0.0
    rarest, tests = 1.0, 0
    for kind in np.unique(stratum):
        change = (halves[1] - halves[0])[stratum == kind]
        change = change[:, np.ptp(change, axis=0) > 0]
        if not change.shape[1]:
            continue
        t = change.mean(0) / (change.std(0, ddof=1) / len(change) ** 0.5)
        tests += len(t)
        rarest = min(rarest, float(2 * student.sf(np.abs(t), len(change) - 1).min()))
    return float(norm.isf(min(1.0, max(rarest * tests, 1e-300)) / 2))
