"""Figure of what is known after each round of a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayescg.plot.style import BLUE, INK, ORANGE, band, figure

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["seeded_rounds"]


def seeded_rounds(table: xr.Dataset, name: str, truth: float | None = None) -> Figure:
    """A quantity, its standard deviation, and the number of states visited, by the number of short trajectories.

    Parameters
    ----------
    table : Dataset
        ``value``, ``sd`` and ``states`` over ``way`` and ``round``, with the coordinate ``trajectories``.
    name : str
        Of the quantity.
    truth : float, optional

    Examples
    --------
    >>> import xarray as xr
    >>> numbers = {k: (("way", "round"), [[3.0, 2.0]]) for k in ("value", "sd", "states")}
    >>> table = xr.Dataset(numbers, {"way": ["seeds"], "trajectories": ("round", [10, 20])})
    >>> len(seeded_rounds(table, "log t1", 2.5).axes)
    3
    """
    from matplotlib.ticker import MaxNLocator

    fig, (left, middle, right) = figure(1, 3, 3.2, 2.7)
    x = table.trajectories.values
    for way, colour in zip(table.way.values, (BLUE, ORANGE), strict=False):
        of = table.sel(way=way)
        left.plot(x, of.value.values, color=colour, lw=1.4, label=str(way))
        band(left, x, (of.value - of.sd, of.value + of.sd), colour)
        middle.plot(x, of.sd.values, "o-", color=colour, ms=3, lw=1.2)
        right.plot(x, of.states.values, "o-", color=colour, ms=3, lw=1.2)
    if truth is not None:
        left.axhline(truth, color=INK, ls=":", lw=1, label="exact")
    left.legend(frameon=False, fontsize=8)
    left.set_ylabel(name)
    middle.set(ylabel=f"sd of {name}", yscale="log")
    right.set(ylabel="states visited", ylim=(0, 1.1 * float(table.states.max())))
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in (left, middle, right):
        ax.set_xlabel("short trajectories")
    return fig
