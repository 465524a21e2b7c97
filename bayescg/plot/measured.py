"""Figure of an ensemble of simulation and experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.draws import interval
from bayescg.plot.style import BLUE, GREY, INK, ORANGE, band, colour_bar, figure, in_degrees, name_axis
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import Ensemble

__all__ = ["measured_averages"]


@figure_of("bayescg.analysis.experiments")
def measured_averages(ensemble: Ensemble, level: float = 0.9) -> Figure:
    """Each datum beside the simulation and the ensemble, and what the force field is off by.

    Parameters
    ----------
    ensemble : Ensemble
        Of :func:`bayescg.analysis.experiments`.
    level : float
        Of bands and intervals.
    """
    fig, (left, right) = figure(1, 2, width=4.0)
    data = ensemble.data
    rows = np.arange(len(data))
    scale = np.array([d.sd for d in data])
    for offset, colour, label, name in ((0.12, GREY, "simulated", "simulated"), (-0.12, BLUE, "ensemble", "predicted")):
        quantities = [getattr(d, name) for d in data]
        off = (np.array([q.mean for q in quantities]) - [d.value for d in data]) / scale
        ends = np.array([interval(q.draws, level) for q in quantities]).T - [d.value for d in data]
        low, high = ends / scale
        left.errorbar(off, rows + offset, xerr=[off - low, high - off], fmt="o", ms=4, color=colour, label=label)
    left.axvline(0, color=INK, lw=0.8)
    left.axvspan(-1, 1, color=ORANGE, alpha=0.2, lw=0, label="measured ± sd")
    left.set(xlabel="off by, in sd of the measurement", ylim=(len(data), -0.5))
    left.set_yticks(rows, [d.name for d in data])
    left.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", handletextpad=0.4, columnspacing=1.0)
    error, dims = ensemble.error, ensemble.error.dims[1:]
    axes = [in_degrees(error[d].values, unit) for d, unit in zip(dims, ensemble.cv_units, strict=True)]
    if len(dims) == 1:
        band(right, axes[0], interval(error.values, level), BLUE, f"{level:.0%} band")
        right.plot(axes[0], error.mean("draw"), color=BLUE, lw=1.5)
        right.axhline(0, color=INK, lw=0.8)
        right.set_ylabel("force field's error (kT)")
        right.legend(frameon=False, fontsize=9)
    else:
        mean = error.mean("draw").where(ensemble.visited)
        most = float(np.abs(mean).max())
        values = right.pcolormesh(*axes, mean.values.T, cmap="RdBu_r", vmin=-most, vmax=most, shading="nearest")
        colour_bar(values, right, "force field's error (kT)")
        name_axis(right.yaxis, ensemble.names[1], ensemble.cv_units[1])
    name_axis(right.xaxis, ensemble.names[0], ensemble.cv_units[0])
    return fig
