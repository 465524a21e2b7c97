"""Draws with named dimensions: from arrays to an xarray.DataTree that ArviZ reads. The one file that imports ArviZ."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["ecdf_band", "interval", "pareto_k", "pareto_smoothed", "to_tree"]

_ROUNDING = 1e-5  # of log weights in single precision
_NARROW = 0.69
"""Of log weights: a tail of 670 weights of shape 0.7 spans a factor of 95, one that spans less than 2 ends."""
_RECURS = 10

Variables = Mapping[str, tuple[Sequence[str], np.ndarray]]


def to_tree(
    groups: Mapping[str, Variables],
    coords: Mapping[str, Sequence[Any] | np.ndarray],
    attrs: Mapping[str, Any],
) -> xr.DataTree:
    """Tree with one group each of posterior, posterior_predictive, ..., as ArviZ names them.

    Parameters
    ----------
    groups : mapping
        Group name to variables; a variable is its dimensions and its values. A variable whose first dimension is
        ``draw`` gets a leading ``chain`` of length one, which ArviZ expects.
    coords : mapping
        Labels of dimensions, or ``(dimension, labels)`` for further ones; those of absent dimensions are left out.
    attrs : mapping
        JSON data written on the root.

    Examples
    --------
    >>> tree = to_tree({"posterior": {"a": (("draw",), np.zeros(4))}}, {}, {"seed": 0})
    >>> dict(tree["posterior"].dataset.sizes)
    {'chain': 1, 'draw': 4}
    """
    children = {}
    for group, variables in groups.items():
        data = {}
        for name, (dims, values) in variables.items():
            chained = bool(dims) and dims[0] == "draw"
            data[name] = (("chain", *dims) if chained else tuple(dims), values[None] if chained else values)
        dims = {d: n for ds, v in data.values() for d, n in zip(ds, np.shape(v), strict=True)}
        labels: dict[str, Any] = {d: np.arange(n) for d, n in dims.items()}  # ArviZ asks every dimension for some
        labels |= {k: v for k, v in coords.items() if (v[0] if isinstance(v, tuple) else k) in dims}
        children[f"/{group}"] = xr.Dataset(data, coords=labels)
    tree = xr.DataTree.from_dict(children)
    tree.attrs.update(attrs)
    return tree


def interval(draws: np.ndarray, level: float = 0.9, axis: int = 0) -> np.ndarray:
    """Equal-tailed interval from a finite number of draws, ``(2, ...)``.

    Quantiles sit at the expected ranks of n + 1, so that for exchangeable draws the interval holds a further one with
    probability `level` also when there are few: 19 draws give their smallest and largest for level 0.9.

    Parameters
    ----------
    draws : ndarray
    level : float
    axis : int
        The axis of draws.

    Examples
    --------
    >>> interval(np.arange(19.0)).tolist()
    [0.0, 18.0]
    """
    tail = (1 - level) / 2
    return np.quantile(draws, [tail, 1 - tail], axis=axis, method="weibull")


def ecdf_band(u: np.ndarray, level: float = 0.99) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where the distribution function of numbers in [0, 1] is looked at, its values, and a band for uniform ones.

    The band is one for the whole function: it leaves none of it in a share `level` of all sets of uniform numbers.

    References
    ----------
    T. Säilynoja, P.-C. Bürkner, A. Vehtari, Stat. Comput. 32, 32 (2022).

    Examples
    --------
    >>> at, values, low, high = ecdf_band(np.random.default_rng(0).random(100))
    >>> bool(((values >= low) & (values <= high)).all())
    True
    """
    from arviz_stats.ecdf_utils import ecdf_pit

    at, values, low, high = ecdf_pit(np.asarray(u, np.float64), level, 2000)
    return at, values, low, high


def pareto_k(log_weights: np.ndarray) -> np.ndarray:
    """Shape of the Pareto tail of importance weights, ``(...)`` for log weights ``(..., draws)``; above 0.7 they fail.

    Weights whose tail spans less than a factor of two, or whose largest value recurs ten times, rounding apart, are
    bounded: 0, for what a bump at the top looks like says nothing of a tail. Where a few lie above many that are the
    same, the tail has no shape, and nothing shows that it ends: infinite.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry, "Pareto smoothed importance sampling", JMLR 25 (2024).

    Examples
    --------
    >>> float(pareto_k(np.random.default_rng(0).normal(scale=0.1, size=500))) < 0.5
    True
    >>> levels = np.zeros(400)
    >>> levels[:20] = 5.0
    >>> float(pareto_k(levels)), float(pareto_k(levels[15:]))
    (0.0, inf)
    """
    return _smoothed(log_weights)[1]


def pareto_smoothed(log_weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Log importance weights ``(draws,)``, normalised, the largest replaced by quantiles of a fitted tail; and its k.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao, Gabry, "Pareto smoothed importance sampling", JMLR 25 (2024).

    Examples
    --------
    >>> smooth, k = pareto_smoothed(np.random.default_rng(0).normal(size=5000))
    >>> float(np.exp(smooth).sum().round(6)), k < 0.7
    (1.0, True)
    """
    smooth, k = _smoothed(log_weights)
    return smooth, float(k)


def _smoothed(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import arviz_stats  # noqa: F401 - registers the accessors used below
    from arviz_stats.base.array import array_stats

    logs = np.asarray(log_weights)
    n = logs.shape[-1]
    size = n // 5 if n <= 225 else int(3 * n**0.5)  # of ArviZ's tail
    above = np.sort(logs, axis=-1)[..., -size - 1 :]
    above = above[..., 1:] - above[..., :1]
    largest = (above > above[..., -1:] - _ROUNDING).sum(-1)
    bounded = (largest >= min(_RECURS, size)) | (above[..., -1] < _NARROW)
    shapeless = ~bounded & (above[..., int(size / 4 + 0.5) - 1] < _ROUNDING)  # by which ArviZ divides
    fitted = ~bounded & ~shapeless
    smooth, k = logs - np.logaddexp.reduce(logs, axis=-1, keepdims=True), np.where(shapeless, np.inf, 0.0)
    if fitted.any():
        smooth[fitted], k[fitted] = array_stats.psislw(-logs[fitted], axis=-1)
    return smooth, k
