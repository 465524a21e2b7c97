"""A figure of a comparison of models: how far each is behind the best, and whether the data can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t

from bayescg.plot.style import BLUE, GREY, INK, ORANGE, figure
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import Comparison

__all__ = ["comparison"]

_NAMES = {
    "log_score": "log score (nat per frame)", "forces": "minus mean square of the missed force",
    "commitments": "log probability of a frame's shots (nat)", "steps": "minus mean square of the missed step",
    "log_z": "lower bound of log Z (nat)", "vamp2": "VAMP-2", "vampe": "VAMP-E",
    "timescales": "sum of timescales",
}  # fmt: skip


@figure_of("bayescg.analysis.compare")
def comparison(table: Comparison) -> Figure:
    """Scores of :func:`bayescg.analysis.compare`, and differences from the best with their 90 % intervals.

    Open circles are blocks or folds. Those that the data cannot tell from the best are blue, others orange.

    Parameters
    ----------
    table : Comparison

    Examples
    --------
    >>> import bayescg as bcg
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic((1.0, 4.0)), 1000, dt=0.01, chains=20, stride=10)
    >>> both = {"slow": lambda x: x[:, :1], "fast": lambda x: x[:, 1:]}
    >>> fig = comparison(bcg.analysis.compare(both, frames, "vamp2", lag=0.2, modes=1))
    >>> len(fig.axes)
    2
    """
    rows = table.rows
    fig, (left, right) = figure(1, 2, 3.4, 0.42 * len(rows) + 1.1)
    for place, row in enumerate(rows):
        colour = BLUE if row.name in table.tied else ORANGE
        half = t.ppf(0.95, row.dof)
        apart = row.blocks - rows[0].blocks
        at = place + np.linspace(-0.25, 0.25, len(row.blocks))
        left.plot(row.blocks, at, "o", ms=3, mfc="none", mec=GREY, mew=0.8)
        left.errorbar(row.score, place, xerr=half * row.se, fmt="o", color=colour, capsize=2)
        if place:
            right.plot(apart, at, "o", ms=3, mfc="none", mec=GREY, mew=0.8)
            right.errorbar(row.difference, place, xerr=half * row.difference_se, fmt="o", color=colour, capsize=2)
    right.axvline(0.0, color=INK, lw=0.8)
    right.annotate("best", (0.0, 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8)
    for ax, label in ((left, _NAMES[table.score]), (right, "difference from the best")):
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_yticks(range(len(rows)), [row.name for row in rows] if ax is left else [""] * len(rows), fontsize=9)
        ax.set_xlabel(label)
    return fig
