"""Figures of distributions that were predicted without frames, beside what long simulations gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayescg.errors import DataError
from bayescg.plot.style import BLUE, INK, ORANGE, Histogram, figure, in_degrees, name_axis, stair_band
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import FreeEnergy

__all__ = ["predicted"]

_ROW = 4  # panels


@figure_of("bayescg.analysis.free_energy")
def predicted(landscapes: Mapping[str, FreeEnergy], reference: Mapping[str, Histogram]) -> Figure:
    """Distribution over each CV with its band, and the reference's where there is one.

    Parameters
    ----------
    landscapes : mapping of str to FreeEnergy
        Over one CV each.
    reference : mapping of str to (edges, shares)
        By the same names: edges of bins ``(bins + 1,)``, rad for angles, and the shares of the bins ``(bins,)``.

    Raises
    ------
    DataError
        A landscape is over two CVs.

    Examples
    --------
    >>> import bayescg as bcg
    >>> x = np.random.default_rng(0).normal(size=(500, 1))
    >>> frames = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    >>> fes = bcg.analysis.free_energy(None, frames, cv=lambda x: x[:, 0], bins=10)
    >>> len(predicted({"x1": fes}, {"x1": (np.array([-1.0, 0.0, 1.0]), np.array([0.5, 0.5]))}).axes)
    1
    """
    columns = min(_ROW, len(landscapes))
    fig, axes = figure(-(-len(landscapes) // columns), columns, 3.2, 2.7)
    for ax in axes[len(landscapes) :]:
        ax.remove()
    axes = axes[: len(landscapes)]
    for ax, (name, fes) in zip(axes, landscapes.items(), strict=True):
        if len(fes.edges) != 1:
            raise DataError(f"{name} is a landscape over {len(fes.edges)} CVs; distributions are drawn over one")
        unit = fes.cv_units[0]
        edges = in_degrees(fes.edges[0], unit)
        width = edges[1] - edges[0]
        density = np.exp(-np.nan_to_num(fes.profile.values, nan=np.inf))
        density /= density.sum(1, keepdims=True) * width
        low, high = np.quantile(density, [(1 - fes.level) / 2, (1 + fes.level) / 2], axis=0)
        stair_band(ax, edges, (low, high), 0.3, f"{100 * fes.level:.0f} % band")
        ax.stairs(density.mean(0), edges, baseline=None, color=BLUE, lw=1.3, label="predicted")
        if name in reference:
            bins, shares = reference[name]
            bins = in_degrees(np.asarray(bins), unit)
            ax.stairs(shares / np.diff(bins), bins, baseline=None, color=ORANGE, lw=1.1, label="reference")
        ax.set_ylim(bottom=0)
        name_axis(ax.xaxis, fes.names[0], unit)
        visited = np.flatnonzero(high > 1e-3 * high.max())
        ax.set_xlim(*((-180, 180) if unit == "rad" else (edges[visited[0]], edges[visited[-1] + 1])))
        ax.set_ylabel("density" + (" (1/°)" if unit == "rad" else ""), color=INK)
    handles, labels = max((ax.get_legend_handles_labels() for ax in axes), key=lambda entries: len(entries[1]))
    fig.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return fig
