"""The partition function by reweighted draws, and whether refits without frames tell of the same system.

One that lost a mode has weights as good as any other's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bayescg.analysis.quantity import Quantity

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["apart_in_log_z", "apart_in_population", "log_partition", "thin"]

_ERRORS_APART = 5.0
_LOST = 0.1
_SURE = 30.0
_THIN = 20
"""Effective draws of one refit. With 10 to 20, free energies of a well of 0.8 % were off by +0.28, a standard error;
with 20 to 40 by 0.02 (60 ensembles of 7 refits of a double well)."""


def log_partition(frames: Frames, draws: int, seed: int) -> Quantity:
    """Log of the partition function by reweighted draws; of an ensemble, the mean of the refits'.

    Parameters
    ----------
    frames : Frames
        Of :func:`bayescg.analysis.reweighted`.
    draws, seed : int
        Of the quantity.
    """
    values, errors = (np.atleast_1d(frames.provenance[key]) for key in ("log_z", "log_z_sd"))
    count = len(values)
    even = np.random.default_rng(seed).permutation((np.arange(draws) + 0.5) / draws)
    sampling = float(np.sqrt(np.square(errors).sum())) / count
    if count == 1:
        sources: dict[str, float | None] = {"sampling": sampling}
        narrow = around = sampling * stats.norm.ppf(even)
    else:
        sd = float(values.std(ddof=1)) / math.sqrt(count)
        sources = {"sampling": min(sampling, sd), "parameter": math.sqrt(max(0.0, sd**2 - sampling**2))}
        narrow, around = sd * stats.norm.ppf(even), sd * stats.t.ppf(even, count - 1)
    mean = float(values.mean())
    return Quantity.of(mean + around, "nat", narrow=mean + narrow, sd_by_source=sources)


def apart_in_log_z(frames: Frames) -> str | None:
    r"""What to say of refits whose partition functions are too small for them to have seen all that another saw.

    Draws count only what their generator reaches: where that leaves out a share m of the probability, log Z by its
    draws is too small by :math:`-\log(1 - m)`.

    Parameters
    ----------
    frames : Frames
        Of :func:`bayescg.analysis.reweighted`.

    Returns
    -------
    str or None
        None where refits agree within five standard errors, or there is one fit only.
    """
    count = frames.provenance.get("refits")
    if count is None:
        return None
    values, errors = (np.asarray(frames.provenance[key]) for key in ("log_z", "log_z_sd"))
    best = int(values.argmax())
    below = np.flatnonzero(values[best] - values > _ERRORS_APART * np.hypot(errors, errors[best]))
    if not len(below):
        return None
    deepest = float(values[best] - values[below].min())
    return (
        f"log Z of {_these(below, count)} lies up to {deepest:.3g} below that of another, more than "
        f"{_ERRORS_APART:g} standard errors: up to {-math.expm1(-deepest):.2%} of the probability was lost there"
    )


def apart_in_population(inside: np.ndarray, weight: np.ndarray, refit: np.ndarray) -> str | None:
    """What to say of refits that lost a region: they have less than a tenth of what another has by many draws.

    A small share shows here and not in log Z.

    Parameters
    ----------
    inside : ndarray of bool, (n,)
        Which draws are in the region.
    weight : ndarray, (n,)
    refit : ndarray of int, (n,)

    Returns
    -------
    str or None
        None where none has, or no refit has draws enough there, 30 effective ones, to say what others should have.

    Examples
    --------
    >>> refit = np.repeat([0, 1, 2], 400)
    >>> inside = (np.arange(1200) % 4 == 0) & (refit < 2)
    >>> apart_in_population(inside, np.ones(1200), refit)
    '1 of 3 refits (2) has less than a tenth of the population that another has (0.25): averages over all are wrong'
    """
    within = np.bincount(refit, weight * inside)
    share = within / np.bincount(refit, weight)
    most = int(share.argmax())
    if within[most] ** 2 < _SURE * np.square(weight[(refit == most) & inside]).sum():
        return None
    lost = np.flatnonzero(share < _LOST * share[most])
    if not len(lost):
        return None
    return (
        f"{_these(lost, len(share))} {'has' if len(lost) == 1 else 'have'} less than a tenth of the population that "
        f"another has ({share[most]:.3g}): averages over all are wrong"
    )


def thin(inside: np.ndarray, weight: np.ndarray, refit: np.ndarray) -> str | None:
    """What to say of refits that nearly lost a region: what they know of it hangs on fewer than twenty effective draws.

    Their estimates are too low in most cases and far too high in a few, and so none that an interval can be made of.

    Parameters
    ----------
    inside, weight, refit : ndarray, (n,)
        As of :func:`apart_in_population`.

    Examples
    --------
    >>> refit = np.repeat([0, 1], 400)
    >>> thin((np.arange(800) < 404), np.ones(800), refit)
    'in 1 of 2 refits (1) by fewer than 20 effective draws, 4.0 at the least'
    """
    first, second = (np.bincount(refit, inside * w) for w in (weight, weight**2))
    counts = np.divide(first**2, second, out=np.zeros(len(first)), where=second > 0)
    few = np.flatnonzero(counts < _THIN)
    if not len(few):
        return None
    return f"in {_these(few, len(counts))} by fewer than {_THIN} effective draws, {counts.min():.1f} at the least"


def _these(which: np.ndarray, count: int) -> str:
    return f"{len(which)} of {count} refits ({', '.join(str(n) for n in which)})"
