"""Figure of probabilities of commitment, foretold and counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayescg.plot.style import BLUE, GREY, figure, intervals
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import Reliability

__all__ = ["reliability"]


@figure_of("bayescg.analysis.reliability")
def reliability(curve: Reliability) -> Figure:
    """Reliability curve: the share of shots that were counted over the probability that was foretold.

    Parameters
    ----------
    curve : Reliability
        Of :func:`bayescg.analysis.reliability`.

    Examples
    --------
    >>> import bayescg as bcg
    >>> import numpy as np
    >>> bins = np.array([0.1, 0.5, 0.9])
    >>> len(reliability(bcg.analysis.Reliability(bins, bins, 0.1 * bins, bins, 0.0, 0.1, -0.5, -0.7, 0.9)).axes)
    1
    """
    fig, (ax,) = figure(1, 1, 3.2, 3.0)
    ax.plot([0, 1], [0, 1], color=GREY, lw=1.0)
    ends = curve.counted - 1.645 * curve.sd, curve.counted + 1.645 * curve.sd
    intervals(ax, curve.foretold, curve.counted, ends, BLUE, "shots, with 90 % of chance", ms=4, lw=1.0)
    ax.set(xlabel="foretold", ylabel="counted", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return fig
