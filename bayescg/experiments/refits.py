"""What reweighted draws tell a run: the partition function of a fit or its refits, and how many lie elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from bayescg.analysis import Quantity
from bayescg.experiments.questions import internal

if TYPE_CHECKING:
    from bayescg.analysis import FreeEnergy
    from bayescg.data import Frames

__all__ = ["effective_outside", "log_partition"]


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
