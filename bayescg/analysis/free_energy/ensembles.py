"""Frames of several ensembles as one, whether these overlap, and TRAM's weights for them."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bayescg.data import Bias, Frames
from bayescg.data.mbar import mbar
from bayescg.data.pairs import steps_of
from bayescg.data.rungs import LITTLE_OVERLAP, overlap
from bayescg.data.split import spacing
from bayescg.errors import ConfigError, DataError

__all__ = ["Paths", "binned", "check_overlap", "paths_of", "pooled", "tram"]

_LOOKED_AT = 2000
_ITERATIONS, _ERROR = 20_000, 1e-7


def pooled(parts: list[Frames]) -> Frames:
    """All frames with their bias in every ensemble, trajectories numbered anew.

    Raises
    ------
    DataError
        Some have no bias or energies, or not those of the same ensembles, or an ensemble has no frames.
    """
    if not parts or not all(isinstance(part, Frames) for part in parts):
        raise DataError("give Frames, one or more, with bias=, or with energy= and a temperature each")
    biases = [part.bias for part in parts if part.bias is not None]
    if len(biases) == len(parts):
        if len(columns := {bias.windows for bias in biases}) > 1:
            raise DataError(f"frames have the bias of {sorted(columns)} ensembles: give that of all ensembles to each")
        window, energies = (np.concatenate([getattr(b, name) for b in biases]) for name in ("window", "energies"))
    elif biases or any(part.energy is None or not np.isfinite(part.energy).all() for part in parts):
        raise DataError("some frames have neither a bias nor energies, all of them: load them with bias= or energy=")
    elif len(parts) < 2:
        raise DataError("these are frames of one ensemble: give those of each temperature, or frames with bias=")
    else:
        beta = np.array([1 / part.kT for part in parts])
        window = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        energies = np.concatenate([np.asarray(part.energy) for part in parts])[:, None] * (beta - beta[0])
    if missing := sorted(set(range(energies.shape[1])) - set(window.tolist())):
        raise DataError(f"ensemble {missing[0]} has no frames: give some, or leave its column of the bias out")
    if any(part.positions.shape[1:] != parts[0].positions.shape[1:] for part in parts):
        raise DataError("frames of the ensembles have different shapes: give those of one system")
    numbers, replicas = [], []
    for part in parts:
        number = np.unique(part.trajectory, return_inverse=True)[1]
        numbers.append(number + (numbers[-1].max() + 1 if numbers else 0))
        replicas.append(np.zeros(len(part), dtype=int) if part.bias is None else part.bias.replica)
    orders: list[Any] = [part.order for part in parts]
    return replace(
        parts[0], positions=np.concatenate([part.gather(np.arange(len(part))) for part in parts]),
        trajectory=np.concatenate(numbers), bias=Bias(window, energies, np.concatenate(replicas)), weights=None,
        order=None if any(order is None for order in orders) else np.concatenate(orders), times=None, momenta=None,
        forces=None, energy=None, labels=None, commitments=None, draw=None, koopman=None,
    )  # fmt: skip


def check_overlap(bias: Any) -> None:
    """Refuse ensembles that are not connected by pairs of which each has frames that might be the other's.

    Raises
    ------
    DataError
        It names the two ensembles of different groups that are closest.
    """
    shared = np.zeros((bias.windows, bias.windows))
    rows = [np.flatnonzero(bias.window == k) for k in range(bias.windows)]
    rows = [r[np.linspace(0, len(r) - 1, min(len(r), _LOOKED_AT)).astype(int)] for r in rows]
    for k, other in combinations(range(bias.windows), 2):
        both = np.r_[rows[k], rows[other]]
        pair = Bias(np.repeat([0, 1], [len(rows[k]), len(rows[other])]), bias.energies[both][:, [k, other]])
        with suppress(DataError):  # nothing in common
            shared[k, other] = shared[other, k] = overlap(pair, np.exp(mbar(pair.energies, pair.window)[0])).min()
    groups, group = connected_components(shared >= LITTLE_OVERLAP, directed=False)
    if groups > 1:
        apart = np.where(group[:, None] != group, shared, -1.0)
        k, other = np.unravel_index(int(apart.argmax()), apart.shape)
        raise DataError(
            f"ensembles {k} and {other} do not overlap: a frame of one might be of the other with probability "
            f"{shared[k, other]:.2g} (wanted {LITTLE_OVERLAP:g}). Simulate one between them, or give one group alone"
        )


def binned(values: np.ndarray, bins: int) -> np.ndarray:
    """States of frames, ``(n,)`` from 0: whole numbers as they are, others in bins of equal widths.

    Of as many frames each, those far from where trajectories begin would be wide, and not in local equilibrium.

    Examples
    --------
    >>> binned(np.array([3.0, 7.0, 3.0]), 20), binned(np.array([0.1, 0.2, 0.3, 0.4]), 2)
    (array([0, 1, 0]), array([0, 0, 1, 1]))
    """
    values = values.reshape(len(values), -1)
    if values.shape[1] > 1:
        raise DataError(f"states= gives {values.shape[1]} numbers a frame; give a CV or the number of a state")
    if (values == np.rint(values)).all():
        return np.unique(values, return_inverse=True)[1].ravel()
    low, high = np.quantile(values, [0.001, 0.999])
    edges = np.linspace(low, high, bins + 1)[1:-1]
    return np.unique(np.searchsorted(edges, values[:, 0], side="right"), return_inverse=True)[1]


class Paths(NamedTuple):
    """What TRAM reads: of each continuous path its frames' rows, states, ensembles and biases, and its trajectory."""

    rows: list[np.ndarray]
    states: list[np.ndarray]
    windows: list[np.ndarray]
    energies: list[np.ndarray]
    trajectory: np.ndarray
    steps: int


def paths_of(frames: Any, states: np.ndarray, lag: float) -> Paths:
    """Continuous paths, of replicas that exchange too.

    Raises
    ------
    DataError
        The frames have no time, the lag is no multiple of that between them, or no path is as long.
    """
    if frames.dt is None or frames.order is None:
        raise DataError("these frames have no time axis, so there is no lag: give dt= where they are loaded")
    bias = frames.bias
    _, path = np.unique(np.stack([frames.trajectory, bias.replica]), axis=1, return_inverse=True)
    sort = np.lexsort([frames.order, path.ravel()])
    rows = np.split(sort, np.flatnonzero(np.diff(path.ravel()[sort])) + 1)
    steps = steps_of(lag, frames.dt * spacing(frames.order))
    if max(len(r) for r in rows) <= steps:
        raise DataError(f"no trajectory is longer than the lag {lag:g}: use a shorter one, or longer trajectories")
    of_paths: Any = ([np.ascontiguousarray(v[r]) for r in rows] for v in (states, bias.window, bias.energies))
    return Paths(rows, *of_paths, trajectory=frames.trajectory[[r[0] for r in rows]], steps=steps)


def tram(paths: Paths, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the unbiased ensemble, ``(n,)``, of sum 1, and free energies of ensembles; by deeptime.

    Frames of states that no path both enters and leaves, in any ensemble, have no weight.

    Parameters
    ----------
    paths : Paths
    counts : ndarray of int, (trajectories,)
        How often each trajectory counts.

    Raises
    ------
    ConfigError
        deeptime is not installed.
    DataError
        The equations are not solved.
    """
    try:
        from deeptime.markov.msm import TRAM, TRAMDataset
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise ConfigError("TRAM is deeptime's, which is not installed: pip install 'bayescg[deeptime]'") from error
    repeats = np.repeat(np.arange(len(paths.rows)), counts[paths.trajectory])
    of_paths: Any = ([part[k] for k in repeats] for part in (paths.states, paths.windows, paths.energies))
    states, windows, energies = of_paths
    states = _connected(states, windows, paths.steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            data = TRAMDataset(states, energies, windows, lagtime=paths.steps)
            model: Any = TRAM(lagtime=paths.steps, maxiter=_ITERATIONS, maxerr=_ERROR).fit_fetch(data)
        except (ConvergenceWarning, ValueError) as error:
            raise DataError(
                f"TRAM does not come to an end ({error}): use fewer states, a longer lag or longer trajectories"
            ) from error
    log_weights = model.compute_sample_weights_log(states, energies)
    weights = np.zeros(sum(len(r) for r in paths.rows))
    for k, part, state in zip(repeats, log_weights, states, strict=True):
        weights[paths.rows[k]] += np.where(state < 0, 0.0, np.exp(part))
    return weights / weights.sum(), model.therm_state_energies


def _connected(states: list[np.ndarray], windows: list[np.ndarray], steps: int) -> list[np.ndarray]:
    """States of paths, -1 outside of the largest set that is connected: by transitions there and back in one ensemble,
    or by ensembles that have been in the same state.

    Not deeptime's, of which versions up to 0.4.5 take the number of ensembles for that of trajectories.

    Examples
    --------
    >>> _connected([np.array([0, 1, 0, 1, 2])], [np.zeros(5, dtype=int)], 1)
    [array([ 0,  1,  0,  1, -1])]
    """
    count = max(int(path.max()) for path in states) + 1
    nodes = [state + count * window for state, window in zip(states, windows, strict=True)]
    size = max(int(path.max()) for path in nodes) + 1
    runs = [np.cumsum(np.r_[0, np.diff(window) != 0]) for window in windows]
    whole = [run[steps:] == run[:-steps] for run in runs]
    now, later = (
        np.concatenate([path[ends][inside] for path, inside in zip(nodes, whole, strict=True)])
        for ends in (slice(None, -steps), slice(steps, None))
    )
    jumps = coo_matrix((np.ones(len(now)), (now, later)), (size, size))
    strong = connected_components(jumps, connection="strong")[1]
    frames = np.concatenate(nodes)
    visited = np.unique(frames)
    ends = np.r_[size + strong[visited], 2 * size + visited % count]
    links = coo_matrix((np.ones(len(ends)), (np.r_[visited, visited], ends)), (3 * size, 3 * size))
    group = connected_components(links, directed=False)[1]
    largest = np.bincount(group[frames]).argmax()
    inside = np.isin(np.arange(count), visited[group[visited] == largest] % count)
    return [np.where(inside[path], path, -1) for path in states]
