"""Figures of free energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.plot.style import BLUE, ORANGE, PALE, Histogram, band, colour_bar, figure, in_degrees, name_axis
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayescg.analysis import FreeEnergy

__all__ = ["free_energy"]


HIGHEST = 25.0
"""Free energies are drawn up to here, in kT: weighted draws reach hundreds, and would leave the wells a flat line."""


@figure_of("bayescg.analysis.free_energy")
def free_energy(fes: FreeEnergy, known: Histogram | None = None, label: str = "reference") -> Figure:
    """Profile with its band over one CV; maps of the mean and of its standard deviation over two.

    Bins that no frame visited are left white, and so is what lies more than 25 kT up. Of two CVs, bins without a band,
    which hold too few frames, are grey.

    Parameters
    ----------
    fes : FreeEnergy
    known : (edges, shares), optional
        Histogram of a reference over the only CV: edges of bins ``(bins + 1,)`` and the shares of the bins ``(bins,)``.
    label : str
        What it is called.

    Examples
    --------
    >>> import bayescg as bcg
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> frames = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    >>> len(free_energy(bcg.analysis.free_energy(None, frames, cv=lambda x: x, bins=10)).axes)
    4
    """
    if len(fes.edges) == 1:
        return _profile(fes, known, label)
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    fig, axes = figure(1, 2, 3.9, 3.2)
    x, y = (in_degrees(e, u) for e, u in zip(fes.edges, fes.cv_units, strict=True))
    coloured = _drawn(fes) & ~fes.untold & np.isfinite(fes.mean.values)
    grey = np.where(_drawn(fes) & ~coloured, 0.0, np.nan)
    for ax, values, title in (
        (axes[0], fes.mean.values, "free energy (kT)"),
        (axes[1], fes.sd.values, "standard deviation (kT)"),
    ):
        ax.pcolormesh(x, y, grey.T, cmap=ListedColormap([PALE]), rasterized=True)
        if coloured.any():
            values = np.where(coloured, values, np.nan)
            top = float(np.nanquantile(values, 0.98))
            mesh = ax.pcolormesh(x, y, values.T, cmap="cividis", vmin=0, vmax=top, rasterized=True)
            colour_bar(mesh, ax, title, extend="max" if np.nanmax(values) > top else "neither")
        else:
            ax.set_title(title, fontsize=10, loc="left")
        _name_and_limit(ax, fes)
    if np.isfinite(grey).any():
        few = Patch(color=PALE, label="too few frames for an error bar")
        fig.legend(handles=[few], loc="outside lower center", frameon=False, fontsize=9)
    return fig


def _drawn(fes: FreeEnergy) -> np.ndarray:
    """Bins with frames, but for those above what is drawn."""
    return (fes.effective.values > 0) & ~(fes.mean.values > HIGHEST)


def _profile(fes: FreeEnergy, known: Histogram | None, label: str) -> Figure:
    fig, (ax,) = figure(1, 1, 4.6, 3.1)
    edges = in_degrees(fes.edges[0], fes.cv_units[0])
    centres = (edges[1:] + edges[:-1]) / 2
    (low, high), mean = fes.band.values, fes.mean.values
    below = np.flatnonzero(mean < HIGHEST)
    between = (np.arange(len(mean)) >= below[0]) & (np.arange(len(mean)) <= below[-1])  # a barrier, and no far end
    reach = np.where(np.isfinite(high), high, mean + 2 * fes.sd.values)
    barrier = high[between & np.isfinite(low) & np.isfinite(high)]
    top = max(min(1.03 * float(np.nanmax(reach)), HIGHEST), 1.03 * barrier.max(initial=0.0), 0.1)  # not 0, of one bin
    text = f"{100 * fes.level:.0f} % band" if np.isfinite(low).any() else None
    band(ax, centres, (np.where(np.isfinite(mean), low, np.nan), np.minimum(high, 2 * top)), BLUE, text)
    if (np.isfinite(mean) & ~np.isfinite(low)).any():
        ax.plot(centres, mean, color=BLUE, lw=1, ls=":", label="mean, too few frames for a band")
    ax.plot(centres, np.where(np.isfinite(low), mean, np.nan), color=BLUE, lw=1.5, label="mean")
    if known is not None:
        at, shares = in_degrees(np.asarray(known[0]), fes.cv_units[0]), np.asarray(known[1], np.float64)
        with np.errstate(divide="ignore"):
            energy = -np.log(shares / shares.sum() / np.diff(at))
        total = np.nansum(np.exp(-fes.profile.values), axis=1) * (edges[1] - edges[0])
        energy -= np.log(total).mean()  # so that both are of densities that sum to one
        ax.plot((at[1:] + at[:-1]) / 2, energy, color=ORANGE, lw=1.1, ls="--", label=label)
    ax.set(ylim=(float(np.nanmin(low, initial=0.0)), top), ylabel="free energy (kT)")
    ax.legend(frameon=False, fontsize=9)
    _name_and_limit(ax, fes)
    return fig


def _name_and_limit(ax: Axes, fes: FreeEnergy) -> None:
    """CVs over the full circle for angles, over what was visited otherwise."""
    shown = _drawn(fes)
    for k, (edges, unit, axis) in enumerate(zip(fes.edges, fes.cv_units, (ax.xaxis, ax.yaxis), strict=False)):
        name_axis(axis, fes.names[k], unit)
        limits = in_degrees(edges[[0, -1]], unit)
        if not fes.periodic[k]:
            visited = np.flatnonzero(shown if shown.ndim == 1 else shown.any(1 - k))
            limits = in_degrees(edges[[visited[0], visited[-1] + 1]], unit)
        (ax.set_xlim if k == 0 else ax.set_ylim)(*limits)
