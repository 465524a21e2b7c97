"""Figures of a coarse-grained simulation beside that of all atoms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bayescg.plot.style import colour_bar, figure, name_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["coarse_grained"]

_FEWEST = 10
_HIGHEST = 8.0


def coarse_grained(
    coarse: np.ndarray,
    atoms: np.ndarray,
    edges: np.ndarray,
    names: Sequence[str],
    titles: tuple[str, str] = ("all-atom", "coarse-grained"),
) -> Figure:
    """Free energies over two angles: of all atoms, coarse-grained, and the latter minus the former.

    Parameters
    ----------
    coarse : ndarray, (draws, bins, bins)
        Counts of the simulation of each draw of the potential.
    atoms : ndarray, (bins, bins)
        Counts of all atoms.
    edges : ndarray, (bins + 1,)
        Radians.
    names : sequence of str
        Of both angles.
    titles : (str, str)
        What to call `atoms` and `coarse`.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson(50, size=(3, 6, 6))
    >>> fig = coarse_grained(counts, counts[0], np.linspace(-np.pi, np.pi, 7), ("phi", "psi"))
    >>> [ax.get_title() for ax in fig.axes[:3]]
    ['all-atom', 'coarse-grained', 'difference']
    """
    fig, axes = figure(1, 3, 3.3, 3.0)
    together = coarse.sum(0)
    energies = [-np.log(np.where(c > 0, c, np.nan) / c.sum()) for c in (atoms, together)]
    enough = (atoms >= _FEWEST) & (together >= _FEWEST)
    difference = np.where(enough, energies[1] - energies[0], np.nan)
    degrees = np.rad2deg(edges)
    along = {"vmin": 0, "vmax": _HIGHEST, "cmap": "cividis"}
    panels = (
        (energies[0] - np.nanmin(energies[0]), titles[0], "free energy (kT)", along),
        (energies[1] - np.nanmin(energies[1]), titles[1], "free energy (kT)", along),
        (difference, "difference", f"{titles[1]} - {titles[0]} (kT)", {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"}),
    )
    for ax, (values, title, text, colours) in zip(axes, panels, strict=True):
        mesh = ax.pcolormesh(degrees, degrees, values.T, rasterized=True, **colours)
        ax.set_title(title, fontsize=10)
        name_axis(ax.xaxis, names[0], "rad")
        name_axis(ax.yaxis, names[1], "rad")
        colour_bar(mesh, ax, text, extend="max" if colours is along else "both")
    return fig
