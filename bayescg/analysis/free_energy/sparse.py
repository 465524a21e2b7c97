"""Which bins of a free energy hold too few frames, or too uneven ones, for an error bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.draws import pareto_k
from bayescg.inference.reweighting import WORST_K

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = [
    "FEWEST",
    "FEWEST_BINS",
    "bins_for",
    "effective_frames",
    "own_draws",
    "remedy",
    "told_ranges",
    "told_share",
    "uneven",
]

FEWEST = 10
"""Effective frames, or visits, below which there is no interval."""

FEWEST_BINS = 5
"""Along a CV, where nobody says how many."""

_TAIL = 25
_MANY = 3 * FEWEST
_PER_BIN = 20
_MUCH = 0.2


def bins_for(frames: int, cvs: int) -> int:
    """Bins along each of so many CVs: as many as leave twenty frames for each on average, at least 5 and at most 80.

    In two dimensions, bins then hold ten frames or more where nine tenths of a Gaussian lie.

    Examples
    --------
    >>> bins_for(500, 1), bins_for(500, 2), bins_for(50_000, 2)
    (25, 5, 50)
    """
    return int(np.clip((frames / _PER_BIN) ** (1 / cvs), FEWEST_BINS, 80))


def effective_frames(cell: np.ndarray, weight: np.ndarray, count: int, enters: np.ndarray | None = None) -> np.ndarray:
    r"""Effective number of frames in each bin, ``(count,)``: :math:`(\sum w)^2 / \sum w^2`, at most its visits.

    Parameters
    ----------
    cell : ndarray, (n,)
        Bin of each frame.
    weight : ndarray, (n,)
    count : int
        Bins.
    enters : ndarray of bool, (n,), optional
        Whether the frame before was elsewhere, in a trajectory.

    Examples
    --------
    >>> effective_frames(np.array([0, 0, 1, 1, 1]), np.array([1.0, 1.0, 8.0, 0.0, 0.0]), 3).tolist()
    [2.0, 1.0, 0.0]
    """
    first, second = (np.bincount(cell, w, minlength=count) for w in (weight, weight**2))
    effective = np.divide(first**2, second, out=np.zeros(count), where=second > 0)
    return effective if enters is None else np.minimum(effective, np.bincount(cell[enters], minlength=count))


def uneven(cell: np.ndarray, weight: np.ndarray, effective: np.ndarray) -> np.ndarray:
    """Whether the weights in each bin have a tail so heavy that the largest may not have been seen: Pareto k above 0.7.

    Bins are looked at one by one, where at least 25 frames count less than half: a bootstrap cannot know what is not
    among the frames.

    Parameters
    ----------
    cell, weight : ndarray, (n,)
    effective : ndarray, (bins,)

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry, "Pareto smoothed importance sampling", JMLR 25 (2024).

    Examples
    --------
    >>> heavy = np.random.default_rng(0).pareto(1.0, 400)
    >>> cell = np.repeat([0, 1], 200)
    >>> weight = np.r_[np.ones(200), heavy[200:]]
    >>> uneven(cell, weight, effective_frames(cell, weight, 2)).tolist()
    [False, True]
    """
    held = np.bincount(cell[weight > 0], minlength=len(effective))
    heavy = np.zeros(len(effective), dtype=bool)
    order = np.argsort(cell, kind="stable")
    ends = np.cumsum(np.bincount(cell, minlength=len(effective)))
    for k in np.flatnonzero((held >= _TAIL) & (effective < held / 2)):
        in_bin = weight[order[ends[k - 1] if k else 0 : ends[k]]]
        heavy[k] = pareto_k(np.log(in_bin[in_bin > 0])) > WORST_K
    return heavy


def told_ranges(poor: np.ndarray, effective: np.ndarray, visited: np.ndarray, edges: np.ndarray) -> str:
    """Where a profile has no band and one would not see why: "-0.5 to 0.2 and 1.1 to 1.3", or nothing.

    Named are bins between others that hold frames enough, and bins of frames enough whose weights are not. Not named
    are the ends of the profile, where it is plain that frames run out.

    Parameters
    ----------
    poor : ndarray of bool, (bins,)
        Bins without a band.
    effective, visited : ndarray, (bins,)
        Effective frames, and frames.
    edges : ndarray, (bins + 1,)

    Examples
    --------
    >>> effective = np.array([2.0, 50.0, 3.0, 0.0, 60.0, 1.0])
    >>> told_ranges(effective < 10, effective, effective, np.arange(7.0))
    '2 to 4'
    """
    rich = effective >= _MANY
    between = np.maximum.accumulate(rich) & np.maximum.accumulate(rich[::-1])[::-1]
    named = poor & (between | (visited >= FEWEST))
    ends = np.flatnonzero(np.diff(np.r_[False, named, False]))
    ranges = [f"{edges[a]:.3g} to {edges[b]:.3g}" for a, b in zip(ends[::2], ends[1::2], strict=True)]
    return f"{', '.join(ranges[:-1])} and {ranges[-1]}" if len(ranges) > 1 else "".join(ranges)


def told_share(poor: np.ndarray, mass: np.ndarray) -> str:
    """Of bins with more than a fifth of the probability that have no band, how many these are; or nothing.

    Parameters
    ----------
    poor : ndarray of bool, (bins,)
        Bins without a band.
    mass : ndarray, (bins,)
        Weight of their frames.

    Examples
    --------
    >>> told_share(np.array([True, True, False, True]), np.array([3.0, 4.0, 13.0, 0.0]))
    '2 of the 3 bins with frames, which hold 35 % of the probability'
    """
    some, lacking = mass > 0, mass[poor].sum()
    if lacking <= _MUCH * mass.sum():
        return ""
    count = f"{(poor & some).sum()} of the {some.sum()} bins with frames"
    return f"{count}, which hold {100 * lacking / mass.sum():.0f} % of the probability"


def own_draws(frames: Frames) -> bool:
    """Whether the frames are a fit's own reweighted draws."""
    return "pareto_k" in frames.provenance


def remedy(frames: Frames) -> str:
    """What brings more of them."""
    if own_draws(frames):
        return "draw more, bcg.analysis.reweighted(fit, samples=...), or train for longer"
    return "simulate longer" if frames.order is not None else "more frames are needed"
