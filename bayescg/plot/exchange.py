"""Figure of hidden states: what each of them shows, and how slowly they exchange."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bayescg.draws import interval
from bayescg.plot.style import BLUE, ORANGE, PALE, axis_label, colour_bar, figure, intervals
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import HiddenStates

__all__ = ["hidden_states"]


@figure_of("bayescg.analysis.hidden_states")
def hidden_states(found: HiddenStates, truth: Sequence[float] | None = None, level: float = 0.9) -> Figure:
    """Cells that each hidden state shows, or its means of features; populations; timescales above the lag.

    Parameters
    ----------
    found : HiddenStates
        Of :func:`bayescg.analysis.hidden_states`.
    truth : sequence of float, optional
        Exact timescales of the slowest modes.
    level : float
        Of the intervals.
    """
    fig, (left, middle, right) = figure(1, 3, 3.0)
    shown, states = found.shown.values, found.populations["state"].values
    cells = found.shown.dims[1] == "cell"
    low, high = (0.0, 1.0) if cells else (shown.min(), shown.max())
    image = left.imshow(shown, cmap="Blues" if cells else "cividis", aspect="auto", vmin=low, vmax=high)
    left.set(xlabel=found.shown.dims[1], ylabel="hidden state", yticks=range(len(states)), yticklabels=states)
    colour_bar(image, left, "probability to show" if cells else "mean, standardised")
    for ax, of, name in ((middle, found.populations, "population"), (right, found.timescales, "timescale")):
        number, values = of[of.dims[1]].values, of.values
        ends = interval(values, level)
        intervals(ax, number, np.median(values, 0), ends, BLUE, f"{level:.0%} interval", ms=5, capsize=4, lw=1.5)
        ax.set(xticks=number, xlabel="hidden state" if of is found.populations else "mode")
        ax.set_ylabel(axis_label(name, found.unit if of is found.timescales else ""))
    if truth is not None:
        right.plot(np.arange(1, len(truth) + 1) + 0.15, truth, "_", color=ORANGE, ms=14, mew=2, label="exact")
        right.legend(frameon=False, fontsize=9)
    right.set_yscale("log")
    highest = max(2 * found.lag, right.get_ylim()[1])  # where no mode has an interval, there is nothing above the lag
    right.set(ylim=(found.lag / 2, highest), xlim=(0.5, found.timescales.sizes["mode"] + 0.5))
    right.axhspan(found.lag / 2, found.lag, color=PALE, lw=0)
    return fig
