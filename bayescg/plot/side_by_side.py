"""Figures that set several methods beside each other: their CVs over a plane, and what each of them found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.draws import interval
from bayescg.plot.style import BLUE, COLOURS, GREY, INK, ORANGE, figure
from bayescg.plot.subjects import figure_by_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["methods", "planes"]

_CELLS = 160
_DEPTH = 10.0


@figure_by_name("functions of points (n, 2), by name")
def planes(
    functions: Mapping[str, Callable[[Any], Any]],
    log_density: Callable[[Any], Any],
    box: Sequence[tuple[float, float]],
    captions: Mapping[str, str] | None = None,
) -> Figure:
    """Functions of two coordinates as colours with contours, where the density is above e^-10 of its maximum.

    Each is brought to zero mean and unit variance at that density; its sign is that of the first one. The last panel
    shows all of them along the first coordinate, averaged over the second one, in the colours of their titles.

    Parameters
    ----------
    functions : mapping of str to callable
        From points (n, 2) to (n,); the first one is what the others are compared with.
    log_density : callable
        From points (n, 2) to (n,), up to a constant.
    box : sequence of (lo, hi)
        Of both coordinates.
    captions : mapping of str to str, optional
        Written below the name.

    Examples
    --------
    >>> drawn = planes({"x1": lambda x: x[:, 0]}, lambda x: -(x**2).sum(1), [(-2, 2), (-2, 2)])
    >>> [ax.get_title() for ax in drawn.axes]
    ['x1', 'along x1']
    """
    import torch

    axes = [np.linspace(low, high, _CELLS) for low, high in box]
    points = torch.as_tensor(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2), dtype=torch.float32)
    log_p = _array(log_density(points))
    weight = np.exp(log_p - log_p.max())
    dense = (log_p > log_p.max() - _DEPTH).reshape(_CELLS, _CELLS)
    inside = [np.flatnonzero(dense.any(1 - k)) for k in (0, 1)]
    columns = min(4, len(functions) + 1)
    fig, panels = figure(-(-(len(functions) + 1) // columns), columns, 2.6, 2.5)
    along, first = panels[len(functions)], None
    for k, (ax, (name, function)) in enumerate(zip(panels, functions.items(), strict=False)):
        f = _array(function(points))
        f = f - np.average(f, weights=weight)
        f /= np.sqrt(np.average(f**2, weights=weight))
        f *= np.sign(np.average(f * (f if first is None else first), weights=weight))
        first = f if first is None else first
        colour = INK if k == 0 else COLOURS[(k - 1) % len(COLOURS)]
        shown = np.ma.masked_array(f.reshape(_CELLS, _CELLS), ~dense)
        ax.pcolormesh(*axes, shown.T, cmap="RdBu_r", vmin=-2, vmax=2, rasterized=True)
        ax.contour(*axes, shown.T, levels=np.arange(-1.8, 2, 0.3), colors=INK, linewidths=0.5, linestyles="solid")
        below = (captions or {}).get(name)
        ax.set_title(name if below is None else f"{name}\n{below}", fontsize=9, color=colour)
        xlim, ylim = ([float(axis[i[j]]) for j in (0, -1)] for axis, i in zip(axes, inside, strict=True))
        ax.set(xlim=xlim, ylim=ylim, xlabel="x1", ylabel="x2")
        profile = np.ma.average(shown, axis=1, weights=weight.reshape(_CELLS, _CELLS))
        along.plot(axes[0], profile, lw=2.0 if k == 0 else 1.2, color=colour)
    along.set_title("along x1", fontsize=9)
    along.set_xlabel("x1")
    for ax in panels[len(functions) + 1 :]:
        ax.set_visible(False)
    return fig


@figure_by_name("what each method found, {method: values}, by quantity")
def methods(columns: Mapping[str, Mapping[str, np.ndarray]], truth: Mapping[str, float] | None = None) -> Figure:
    """What each method found, a panel for each quantity: a point for each data set, with a 90 % interval of its draws.

    Parameters
    ----------
    columns : mapping of str to mapping
        For each quantity, by method, its values (data sets,), or draws (data sets, draws).
    truth : mapping of str to float, optional
        Exact values, by quantity.

    Examples
    --------
    >>> found = {"R2": {"PCA": np.array([0.5, 0.6]), "TICA": np.array([0.8, 0.9])}}
    >>> methods(found, {"R2": 1.0}).axes[0].get_xlabel()
    'R2'
    """
    names = list(next(iter(columns.values())))
    fig, panels = figure(1, len(columns), 2.7, 0.42 * len(names) + 1.0)
    for ax, (quantity, by_method) in zip(panels, columns.items(), strict=True):
        for row, name in enumerate(names):
            values = np.asarray(by_method[name], np.float64)
            at = row + np.linspace(-0.28, 0.28, len(values)) if len(values) > 1 else np.array([row])
            middle = np.median(values, 1) if values.ndim == 2 else values
            if values.ndim == 2:
                low, high = interval(values.T, 0.9)
                ax.hlines(at, low, high, color=BLUE, lw=1.3)
            ax.plot(middle, at, "o", color=BLUE, ms=3.5)
        if truth and quantity in truth:
            ax.axvline(truth[quantity], color=ORANGE, lw=1.2, ls="--")
            ax.annotate(
                "exact", (truth[quantity], 1.0), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                fontsize=8, color=ORANGE,
            )  # fmt: skip
        for line in range(len(names) - 1):
            ax.axhline(line + 0.5, color=GREY, lw=0.4)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_yticks(range(len(names)), names if ax is panels[0] else [""] * len(names), fontsize=9)
        ax.set_xlabel(quantity)
    return fig


def _array(values: Any) -> np.ndarray:
    values = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    return values.astype(np.float64).reshape(len(values))
