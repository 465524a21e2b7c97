"""Figure of how replicas of umbrella sampling mixed along their ladder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.data.rungs import LITTLE_OVERLAP
from bayescg.plot.style import BLUE, GREY, INK, ORANGE, PALE, figure
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import Mixing

__all__ = ["mixing"]


@figure_of("bayescg.analysis.mixing")
def mixing(mixed: Mixing) -> Figure:
    """Where the replicas in each window came from, and how its neighbours hang together.

    Left: the share of each window's frames that come from replicas which began in the upper half of the ladder; the
    grey staircase is that of replicas that never moved, the dotted line that of all frames. Right: overlap of
    neighbours, with the least that free energies need, and the share of exchanges accepted.

    Parameters
    ----------
    mixed : Mixing
        From :func:`bayescg.analysis.mixing`.

    Examples
    --------
    >>> from bayescg.analysis import Mixing
    >>> len(mixing(Mixing(np.full(2, 0.2), np.array([0.3, 0.5, 0.7]), 4, 2, None, np.zeros((2, 3)))).axes)
    2
    """
    from matplotlib.ticker import MaxNLocator

    fig, (left, right) = figure(1, 2, 3.4, 2.7)
    windows = np.arange(len(mixed.born_high))
    unmoved = (2 * windows >= len(windows)).astype(float)
    left.stairs(unmoved, np.arange(len(windows) + 1) - 0.5, baseline=None, color=PALE, lw=4, label="never moved")
    left.axhline(float(np.nanmean(mixed.born_high)), color=GREY, ls=":", lw=1, label="all windows")
    left.plot(windows, mixed.born_high, "o-", color=BLUE if mixed.mixed else ORANGE, ms=4, lw=1.2, label="share")
    left.set(xlabel="window", ylabel="began in the upper half", ylim=(-0.05, 1.05))
    left.legend(frameon=False, fontsize=8)
    pairs = windows[:-1] + 0.5
    right.bar(pairs, mixed.overlap, width=0.7, color=PALE, label="overlap")
    right.axhline(LITTLE_OVERLAP, color=INK, ls=":", lw=1, label=f"overlap needed, {LITTLE_OVERLAP:g}")
    if mixed.acceptance is not None:
        right.plot(pairs, mixed.acceptance, "o-", color=BLUE, ms=4, lw=1.2, label="exchanges accepted")
    right.set(xlabel="between windows", ylabel="share", xlim=(-0.5, len(windows) - 0.5), ylim=(0.0, 1.05))
    right.legend(frameon=False, fontsize=8)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return fig
