"""What a study says of several methods that were asked the same of the same data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import bayescg as bcg
from bayescg.questions.finding import Drawing, Finding

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.analysis import Quantity

__all__ = ["CONCLUSION", "CORRELATION", "POSITIVE", "SHARE", "apart", "mean_and_error", "over_data_sets", "told_apart"]

CONCLUSION = "Conclusion"
_LEVEL = 0.95
_TINY = 1e-12
_MOST_PANELS = 4


def _fisher(square: np.ndarray) -> np.ndarray:
    return np.arctanh(np.sqrt(square.clip(0.0, 1 - _TINY)))


def _logit(share: np.ndarray) -> np.ndarray:
    return np.log(share) - np.log1p(-share)


def _square(z: np.ndarray) -> np.ndarray:
    return np.tanh(z.clip(0.0)) ** 2


CORRELATION: Any = (_fisher, _square)
"""Of squares of correlations: Fisher's z."""

SHARE: Any = (lambda share: _logit(share.clip(_TINY, 1 - _TINY)), lambda odds: 1.0 / (1.0 + np.exp(-odds)))
"""Of shares of a variance: log odds."""

POSITIVE: Any = (lambda value: np.log(value.clip(_TINY)), np.exp)
"""Of times: logarithms."""

_PLAIN: Any = (lambda value: value, lambda value: value)


def over_data_sets(values: np.ndarray, unit: str = "", scale: Any = None) -> Quantity:
    """Mean over data sets, its standard error, and the interval of a Student t, for data and training together.

    The t is of values on a `scale` without ends, so that no interval holds what cannot be, however few values.

    Parameters
    ----------
    values : ndarray, (data sets,)
    unit : str
    scale : (callable, callable), optional
        To values without ends, and back.

    Examples
    --------
    >>> r2 = over_data_sets(np.array([0.6, 0.9]), scale=CORRELATION)
    >>> round(r2.mean, 2), [round(end, 2) for end in r2.ci90]
    (0.75, [0.0, 1.0])
    """
    to, back = scale or _PLAIN
    mean, se = mean_and_error(values)
    middle, error = mean_and_error(to(values))
    half = _quantile(len(values)) * error
    low, high = (float(end) for end in back(np.array([middle - half, middle + half])))
    return bcg.analysis.Quantity(mean, se, (low, high), values, unit)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def apart(a: np.ndarray, b: np.ndarray) -> tuple[float, float, str]:
    """Mean of b - a over the same data sets, its standard error, and whether b is above, below, or neither.

    By a one-sided t-test of the differences at 95 %.
    """
    mean, se = mean_and_error(b - a)
    limit = _quantile(len(a)) * se
    return mean, se, "above" if mean > limit else "below" if mean < -limit else "neither"


def _quantile(count: int) -> float:
    """Of Student's t of the mean of so many values, at 95 %."""
    from scipy.stats import t as student

    return float(student.ppf(_LEVEL, count - 1))


def plus_minus(values: np.ndarray) -> str:
    """Mean and standard error, to the digits of the latter.

    Examples
    --------
    >>> plus_minus(np.array([1.0, 1.1, 1.2]))
    '1.100 ± 0.058'
    """
    mean, se = mean_and_error(values)
    places = max(0, 1 - int(f"{se:.1e}".split("e")[1])) if se > 0 else 3
    return f"{mean:.{places}f} ± {se:.{places}f}"


def in_words(name: str) -> str:
    """A method's name as people write it.

    Examples
    --------
    >>> in_words("deep_msm"), in_words("tica")
    ('deep MSM', 'TICA')
    """
    return name.replace("_", " ").replace("tica", "TICA").replace("msm", "MSM")


def told_apart(table: xr.Dataset, order: Sequence[str]) -> Finding:
    """Which methods differ in what, in sentences, and a figure of all of them.

    Parameters
    ----------
    table : Dataset
        With dimensions ``model`` and ``replicate``, and others over which means are taken.
    order : sequence of str
        Methods that are expected to come last; they stand last in the figure.
    """
    names = [str(n) for n in table["model"].values]
    names = [n for n in names if n not in order] + [n for n in reversed(order) if n in names]
    finding, columns = Finding(), {}
    for quantity, array in table.data_vars.items():
        inner = [d for d in array.dims if d not in ("model", "replicate")]
        values = {n: array.sel(model=n).mean(inner).values for n in names}
        values = {n: v for n, v in values.items() if np.isfinite(v).all()}
        if len(values) < 2:
            continue
        columns[str(quantity)] = {in_words(n): v for n, v in values.items()}
        pairs = [(a, b) for k, a in enumerate(values) for b in list(values)[k + 1 :]]
        verdicts = [(a, b, apart(values[a], values[b])[2]) for a, b in pairs]
        above = [f"{in_words(b)} above {in_words(a)}" for a, b, where in verdicts if where == "above"]
        above += [f"{in_words(a)} above {in_words(b)}" for a, b, where in verdicts if where == "below"]
        finding.remark(
            CONCLUSION,
            f"{quantity}: " + ", ".join(f"{in_words(n)} {plus_minus(v)}" for n, v in values.items()) + "; "
            + (f"told apart at 95 %: {', '.join(above)}." if above else "not told apart at 95 %."),
        )  # fmt: skip
    alike = {q: c for q, c in columns.items() if len(c) == len(names)}
    if alike:
        shown = dict(list(alike.items())[:_MOST_PANELS])
        finding.figures["methods"] = Drawing(
            lambda: bcg.plot.methods(shown), "What each method found: a point for each data set."
        )
    return finding
