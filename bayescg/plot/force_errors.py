"""How large errors of forces are where a learned potential says that it is so uncertain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayescg.errors import DataError
from bayescg.plot.style import COLOURS, INK, figure
from bayescg.plot.subjects import figure_by_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["force_errors"]


@figure_by_name("standard deviations and errors (sd, error), by what they are of")
def force_errors(groups: Mapping[str, tuple[np.ndarray, np.ndarray]], unit: str = "", bins: int = 10) -> Figure:
    """Root mean square error of forces in bins of their predicted standard deviation, beside the diagonal.

    Parameters
    ----------
    groups : mapping of str to (sd, error)
        Predicted standard deviations and true errors, of any one shape, by what they are of.
    unit : str
        Of the forces.
    bins : int
        Each holds as many forces.

    Raises
    ------
    DataError
        There are fewer forces than bins.

    Examples
    --------
    >>> sd = np.random.default_rng(0).uniform(0.1, 1.0, 1000)
    >>> len(force_errors({"held out": (sd, sd * np.random.default_rng(1).normal(size=1000))}).axes)
    1
    """
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    fig, (ax,) = figure(1, 1, 3.8, 3.4)
    ends = []
    for colour, (name, (sd, error)) in zip(COLOURS, groups.items(), strict=False):
        sd, error = np.ravel(sd), np.ravel(error)
        if len(sd) < bins:
            raise DataError(f"{name}: {len(sd)} forces do not fill {bins} bins")
        rows = np.array_split(np.argsort(sd), bins)
        points = np.array([[np.sqrt(np.mean(sd[row] ** 2)), np.sqrt(np.mean(error[row] ** 2))] for row in rows])
        ax.plot(*points.T, "o-", color=colour, ms=4, lw=1.0, label=name)
        ends += [points.min(), points.max()]
    line = [0.8 * min(ends), 1.25 * max(ends)]
    ax.plot(line, line, "--", color=INK, lw=0.8, label="as predicted")
    ax.set(xscale="log", yscale="log", xlim=line, ylim=line)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())
    ax.set_xlabel(f"predicted standard deviation{f' ({unit})' if unit else ''}")
    ax.set_ylabel(f"root mean square error{f' ({unit})' if unit else ''}")
    ax.legend(frameon=False)
    return fig
