"""Whether refits without frames tell of the same system: one that lost a mode has weights as good as any other's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bayescg.analysis import Quantity
from bayescg.experiments.questions import internal

if TYPE_CHECKING:
    from bayescg.analysis import FreeEnergy
    from bayescg.data import Frames

__all__ = ["effective_outside", "log_partition", "refits_apart"]

_ERRORS_APART = 5.0
_LOST = 0.1
_SURE = 30.0


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
        around = sampling * stats.norm.ppf(even)
    else:
        sd = float(values.std(ddof=1)) / math.sqrt(count)
        sources = {"sampling": min(sampling, sd), "parameter": math.sqrt(max(0.0, sd**2 - sampling**2))}
        around = sd * stats.t.ppf(even, count - 1)
    return Quantity.of(float(values.mean()) + around, "nat", sd_by_source=sources)


def refits_apart(
    frames: Frames, landscapes: Mapping[str, FreeEnergy], regions: Mapping[str, Mapping[str, list[float]]]
) -> list[str]:
    r"""Warnings of refits that left out what others found.

    Draws count only what their generator reaches: where that leaves out a share m of the probability, log Z by its
    draws is too small by :math:`-\log(1 - m)`. A small share shows in the populations of the regions instead: where one
    refit has less than a tenth of what another has by many draws, it has lost it.

    Parameters
    ----------
    frames : Frames
        Of :func:`bayescg.analysis.reweighted`.
    landscapes : mapping of str to FreeEnergy
        Of the regions' observables.
    regions : mapping of str to {observable: [low, high]}

    Returns
    -------
    list of str
        Empty where there is one fit only.
    """
    count = frames.provenance.get("refits")
    if count is None:
        return []
    told = []
    values, errors = (np.asarray(frames.provenance[key]) for key in ("log_z", "log_z_sd"))
    best = int(values.argmax())
    below = np.flatnonzero(values[best] - values > _ERRORS_APART * np.hypot(errors, errors[best]))
    if len(below):
        deepest = float(values[best] - values[below].min())
        told.append(
            f"log Z of {_these(below, count)} lies up to {deepest:.3g} below that of another, more than "
            f"{_ERRORS_APART:g} standard errors: up to {-math.expm1(-deepest):.2%} of the probability was lost there"
        )
    weight = np.asarray(frames.weights, dtype=np.float64).reshape(count, -1)
    for name, region in regions.items():
        ((observable, bounds),) = region.items()
        inside = weight * _within(landscapes[observable], bounds).reshape(count, -1)
        share = inside.sum(1) / weight.sum(1)
        most = int(share.argmax())
        if share[most] ** 2 * weight[most].sum() ** 2 < _SURE * np.square(inside[most]).sum():
            continue  # too few effective draws to say what the others should have
        lost = np.flatnonzero(share < _LOST * share[most])
        if len(lost):
            told.append(
                f"{name}: {_these(lost, count)} have less than a tenth of the population that another has "
                f"({share[most]:.3g}): they lost it, and averages over all refits are wrong there"
            )
    return told


def effective_outside(landscape: FreeEnergy, bounds: list[float]) -> float:
    """Effective number of draws outside a region, of whose share nobody knows that it is near 1 where they are few.

    Parameters
    ----------
    landscape : FreeEnergy
        Over one CV.
    bounds : [low, high]
        As in an experiment's file, angles in degrees.
    """
    weight = landscape.frame_weights * ~_within(landscape, bounds)
    return float(weight.sum() ** 2 / max(np.square(weight).sum(), 1e-300))


def _within(landscape: FreeEnergy, bounds: list[float]) -> np.ndarray:
    values = landscape.values[0, :, 0]
    low, high = internal(bounds, landscape)
    return (values >= low) & (values < high) if low < high else (values >= low) | (values < high)


def _these(which: np.ndarray, count: int) -> str:
    return f"{len(which)} of {count} refits ({', '.join(str(n) for n in which)})"
