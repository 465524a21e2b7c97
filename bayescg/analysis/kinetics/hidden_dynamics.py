"""Hidden states of a fitted hidden Markov model as draws: how probable they are, and how slowly they exchange."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import softmax
from scipy.stats import norm, t

from bayescg.analysis.drift import beginnings
from bayescg.analysis.fit_checks import check_fit, check_question
from bayescg.analysis.kinetics.resample import MOST_LOST
from bayescg.analysis.kinetics.spectrum import LEAST_RELAXATIONS
from bayescg.analysis.quantity import Quantity, rounded
from bayescg.arguments import check_counts
from bayescg.errors import DataError, ModelError
from bayescg.recording.functional import call_with

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.data import Frames, Stretches
    from bayescg.inference import Fit

__all__ = ["HiddenStates", "hidden_states"]

_FEWEST_VISITS = 3.0
_FEWEST_REFITS = 3
_SLOWEST_LOST = 1e-6
_FOLDS = 5
_BY_CHANCE = 0.05
"""How often frames without any order may pass for ordered ones."""


@dataclass(frozen=True, repr=False)
class HiddenStates:
    """Hidden states, the most probable one first, and their exchange.

    Attributes
    ----------
    timescales : DataArray, (draw, mode)
        Of the exchange between hidden states, the slowest first; NaN of modes without an interval.
    populations : DataArray, (draw, state)
        Probabilities at equilibrium; their sum is one.
    transitions : DataArray, (from, to)
        Probabilities of a hidden state a lag after another one, at the trained values.
    shown : DataArray, (state, cell) or (state, feature)
        Probabilities with which hidden states show cells, or their means of standardised features, at the trained
        values.
    probabilities : DataArray, (frame, state)
        Of the hidden states at each frame, given all of its stretch, at the trained values; NaN of frames in none.
    entries : ndarray, (states,)
        How often trajectories enter each hidden state, on average over paths.
    lag : float
    unit : str
        Of time.
    refused : mapping of int to str
        Modes that have no interval, and why.
    warnings : tuple of str
    """

    timescales: xr.DataArray
    populations: xr.DataArray
    transitions: xr.DataArray
    shown: xr.DataArray
    probabilities: xr.DataArray
    entries: np.ndarray
    lag: float
    unit: str = ""
    refused: Mapping[int, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def eigenvalues(self) -> xr.DataArray:
        """Rates of the exchange, 1 / timescale, (draw, mode)."""
        return (1.0 / self.timescales).rename("eigenvalue")

    @property
    def quantities(self) -> dict[str, Quantity]:
        """``timescale_1``, ``timescale_2``, ..., and ``population_1``, ``population_2``, ..."""
        slow = {
            f"timescale_{k}": Quantity.of(self.timescales.sel(mode=k).values, self.unit, self.refused.get(int(k)))
            for k in self.timescales["mode"].values
        }
        doubt = self.refused.get(1) if len(slow) else None
        held = {
            f"population_{k}": Quantity.of(self.populations.sel(state=k).values, "", doubt)
            for k in self.populations["state"].values
        }
        return {name: replace(q, sd_by_source={"sampling": q.sd}) for name, q in (slow | held).items()}

    def to_dataset(self) -> xr.Dataset:
        """All but the probabilities of single frames."""
        import xarray as xr

        parts = {"population": self.populations, "transition": self.transitions, "shown": self.shown}
        return xr.Dataset({"timescale": self.timescales, **parts})

    def __repr__(self) -> str:
        quantities = self.quantities
        said = {
            what: ", ".join(
                f"{rounded(q.mean, q.sd)} ± {q.sd:.2g}" if np.isfinite(q.mean) else "none"
                for name, q in quantities.items()
                if what in name
            )
            for what in ("timescale", "population")
        }
        return (
            f"HiddenStates({len(self.entries)} at lag {self.lag:g}: timescales {said['timescale']}"
            f"{self.unit and ' ' + self.unit}; populations {said['population']})"
        )


def hidden_states(fit: Fit, frames: Frames | None = None, draws: int = 1000, seed: int = 0) -> HiddenStates:
    r"""Timescales, populations and probabilities of hidden states of a fitted :class:`bayescg.models.HiddenMarkov`.

    Draws are about the mean of the refits, in logarithms, and spread as these do. As their number and that of the
    stretches is finite, draws have the tails of Student's t.

    No timescale has an interval where trajectories do not begin at equilibrium although the model says so, nor where
    the slowest one is seen to relax fewer than 40 times, the limit of :func:`bayescg.analysis.spectrum`; nor where
    the order of the frames tells nothing: of five folds of the stretches each is held out once, and those of frames
    without any order are more probable than the same frames one by one in fewer than 5 of 100 sets. A mode has none
    either whose correlation after a lag is zero within the errors (one-sided, 1 of 100).

    Intervals of the slowest timescale were counted (docs/calibration.md), none of faster ones, which are near the lag.

    Parameters
    ----------
    fit : Fit
        With refits, ``uncertainty="bootstrap"``: 50 of them or more, ``members=50``, make the interval's ends steady.
    frames : Frames, optional
        Whose hidden states are wanted; None: those of the fit.
    draws, seed : int

    Raises
    ------
    ModelError
        The fit is of another model, or has no refits.
    DataError
        There are no frames.

    References
    ----------
    D. B. Rubin, "The Bayesian bootstrap", Ann. Statist. 9, 130 (1981).

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import HiddenMarkov
    >>> frames = bcg.sampling.overdamped(bcg.systems.QuarticDoubleWell(), 2000, dt=0.01, chains=20, stride=20)
    >>> fit = bcg.fit(HiddenMarkov(states=2, cells=[-0.5, 0.5]), frames, progress=False)
    >>> found = hidden_states(fit)
    >>> found.populations.dims, found.probabilities.dims
    (('draw', 'state'), ('frame', 'state'))
    """
    import xarray as xr

    check_fit(fit)
    check_counts(draws=(draws, 2), seed=(seed, 0))
    model: Any = fit.model
    if not callable(getattr(model, "paths", None)):
        raise ModelError(f"{type(model).__name__} is no hidden Markov model")
    if (fit.weights.members or 0) < _FEWEST_REFITS:
        raise ModelError(
            f"this fit has fewer than {_FEWEST_REFITS} refits, which intervals are made of: fit it with "
            "uncertainty='bootstrap', members=50"
        )
    frames = fit.frames if frames is None else frames
    if frames is None:
        raise DataError("this fit was loaded without the frames that it was trained on; give them as frames=")
    check_question(frames)
    varying = fit.parameters()
    points = [{}, *({k: v[i] for k, v in varying.items()} for i in range(fit.weights.members or 0))]
    joints = np.stack([_joint(model, {**fit.weights.point, **point}) for point in points])
    held = joints.sum(2)
    root = np.sqrt(held)
    correlations = np.linalg.eigvalsh(joints / root[:, :, None] / root[:, None, :])[:, -2::-1]
    logs = np.concatenate([np.log(-np.log(correlations.clip(_SLOWEST_LOST, 1 - 1e-12))), np.log(held)], 1)
    stretches, g = (float(fit.diagnostics[name]) for name in ("effective_frames", "statistical_inefficiency"))
    moved = _about(logs[1:], stretches if g == 1 else max(stretches / (5 * g), 10.0), draws, seed)
    modes, states = np.arange(1, model.states), np.arange(1, model.states + 1)
    timescales = model.lag * np.exp(-moved[:, : len(modes)])
    rows = model.rows(frames)
    x = model.observed(rows)
    probabilities, entries = _along(model, rows, x)
    refused = _refused(model, frames, correlations, timescales, probabilities)
    if len(modes) and not _ordered(copy.deepcopy(model), rows, x):
        words = (
            "held-out frames are no more probable in their order than one by one: they have no memory that can be told "
            "from noise; use cells that tell more of slow states, a shorter lag, or more frames"
        )
        refused = {int(k): words for k in modes}
    timescales[:, [k - 1 for k in refused]] = np.nan
    seldom = [int(k) for k, n in zip(states, entries, strict=True) if n < _FEWEST_VISITS and len(states) > 1]
    coordinates = {"draw": np.arange(draws), "mode": modes, "state": states}
    array = lambda values, *dims: xr.DataArray(values, {d: coordinates[d] for d in dims if d in coordinates}, dims)  # noqa: E731
    return HiddenStates(
        timescales=array(timescales, "draw", "mode").rename("timescale"),
        populations=array(softmax(moved[:, len(modes) :], 1), "draw", "state").rename("population"),
        transitions=xr.DataArray(joints[0] / held[0][:, None], {"from": states, "to": states}, ("from", "to")),
        shown=xr.DataArray(
            model.emission.shown().cpu().numpy(),
            {"state": states},
            ("state", "feature" if model.cells is None else "cell"),
        ),
        probabilities=array(probabilities, "frame", "state"),
        entries=entries,
        lag=model.lag,
        unit="ps" if frames.unit == "nm" else "",
        refused=refused,
        warnings=(
            *(
                [f"hidden states {seldom} are entered fewer than 3 times: use fewer states, or more frames"]
                * bool(seldom)
            ),
            *dict.fromkeys(refused.values()),
        ),
    )


def _joint(model: Any, values: Any) -> np.ndarray:
    with torch.no_grad():
        return call_with(model, values, lambda m: m.joint()).double().cpu().numpy()


def _about(logs: np.ndarray, blocks: float, draws: int, seed: int) -> np.ndarray:
    """Draws (draws, k) as refits (count, k) spread, whose number and that of the blocks are finite."""
    count, rng = len(logs), np.random.default_rng(seed)
    deviations = (logs - logs.mean(0)) / np.sqrt(count - 1)
    freedom = 1 / (1 / max(blocks - 1, 1) + 1 / (count - 1))
    tails = np.sqrt(freedom / rng.chisquare(freedom, (draws, 1)) * (1 + 1 / count))
    return logs.mean(0) + rng.normal(size=(draws, count)) @ deviations * tails


def _along(model: Any, rows: Stretches, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of hidden states (frames, states), and how often each is entered (states,)."""
    with torch.no_grad():
        paths = model.paths(x, torch.full((len(x),), 1 / rows.overlap).to(x))
    probabilities, within = np.full((len(rows.frames), model.states), np.nan), rows.index >= 0
    probabilities[rows.index[within]] = paths.states.cpu().numpy()[within]
    steps = paths.steps.cpu().numpy()
    return probabilities, steps.sum(0) - np.diag(steps)


def _ordered(model: Any, rows: Stretches, x: torch.Tensor) -> bool:
    """Whether stretches are more probable than their frames one by one, by parameters of the others."""
    block = np.unique(rows.blocks(1), return_inverse=True)[1]
    gain = np.empty(len(rows))
    for fold in range(_FOLDS):
        out = block % _FOLDS == fold
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.solve(rows, torch.as_tensor(~out / rows.overlap))
        with torch.no_grad():
            each = model.emission(x[out]) + model.joint().sum(1).log()
            together = model.paths(x[out], torch.ones(int(out.sum())).to(x)).log_p
            gain[out] = (together - each.logsumexp(2).sum(1)).cpu().numpy()
    gains = np.bincount(block, gain) / rows.overlap
    count = len(gains)
    return count > 1 and bool(gains.mean() > t.isf(_BY_CHANCE, count - 1) * gains.std(ddof=1) / np.sqrt(count))


def _refused(
    model: Any, frames: Frames, correlations: np.ndarray, timescales: np.ndarray, probabilities: np.ndarray
) -> dict[int, str]:
    """Why modes, by number, have no interval."""
    refused, drifting = {}, beginnings(np.nan_to_num(probabilities), frames)
    relaxations = len(frames) * float(frames.dt or 0.0) / np.median(timescales[:, 0]) if timescales.size else np.inf
    for k in range(correlations.shape[1]):
        if correlations[1:, k].mean() <= norm.isf(MOST_LOST) * correlations[1:, k].std() + _SLOWEST_LOST:
            refused[k + 1] = f"mode {k + 1} decays within the lag {model.lag:g}: use a shorter one, or fewer states"
        elif drifting and model.equilibrium:
            refused[k + 1] = f"{drifting}; or fit with equilibrium=False, and a stretch as long as trajectories"
        elif relaxations < LEAST_RELAXATIONS:
            refused[k + 1] = (
                f"the slowest mode relaxes about {relaxations:.2g} times in these frames, fewer than the "
                f"{LEAST_RELAXATIONS} from which intervals are trusted: simulate longer"
            )
    return refused
