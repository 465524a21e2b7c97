"""Figures of free energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.plot.style import BLUE, ORANGE, Histogram, axis_label, figure, in_degrees, set_angle_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayescg.analysis import FreeEnergy

__all__ = ["free_energy"]


HIGHEST = 25.0
"""Free energies are drawn up to here, in kT: weighted draws reach hundreds, and would leave the wells a flat line."""


def free_energy(fes: FreeEnergy, known: Histogram | None = None, label: str = "reference") -> Figure:
    """Profile with its band over one CV; maps of the mean and of its standard deviation over two.

    Bins that no frame visited are left white, and so is what lies more than 25 kT up.

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
    made, axes = figure(1, 2, 3.9, 3.2)
    for ax, values, title, colours in (
        (axes[0], _low(fes), "free energy (kT)", "cividis"),
        (axes[1], np.where(np.isfinite(_low(fes)), fes.sd.values, np.nan), "standard deviation (kT)", "cividis"),
    ):
        x, y = (in_degrees(e, u) for e, u in zip(fes.edges, fes.cv_units, strict=True))
        top = float(np.nanquantile(values, 0.98))
        mesh = ax.pcolormesh(x, y, values.T, cmap=colours, vmin=0, vmax=top, rasterized=True)
        bar = made.colorbar(mesh, ax=ax, extend="max" if np.nanmax(values) > top else "neither", pad=0.02)
        bar.set_label(title, fontsize=10)
        bar.ax.tick_params(labelsize=9)
        bar.outline.set_visible(False)  # type: ignore[operator]
        ax.set_xlabel(axis_label(fes.names[0], fes.cv_units[0]), fontsize=10)
        ax.set_ylabel(axis_label(fes.names[1], fes.cv_units[1]), fontsize=10)
        _set_limits(ax, fes)
    return made


def _low(fes: FreeEnergy) -> np.ndarray:
    """The mean, NaN above what is drawn."""
    return np.where(fes.mean.values <= HIGHEST, fes.mean.values, np.nan)


def _profile(fes: FreeEnergy, known: Histogram | None, label: str) -> Figure:
    made, (ax,) = figure(1, 1, 4.6, 3.1)
    edges = in_degrees(fes.edges[0], fes.cv_units[0])
    centres = (edges[1:] + edges[:-1]) / 2
    low, high = fes.band.values
    top = 1.03 * float(np.nanmax(np.where(np.isfinite(high), high, fes.mean.values + 2 * fes.sd.values)))
    top = min(top, HIGHEST)
    ax.fill_between(
        centres,
        np.where(np.isfinite(fes.mean.values), low, np.nan),
        np.minimum(high, 2 * top),
        color=BLUE,
        alpha=0.25,
        lw=0,
        label=f"{100 * fes.level:.0f} % band" if np.isfinite(low).any() else None,
    )
    mean = fes.mean.values
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
    ax.set_ylim(float(np.nanmin(low, initial=0.0)), top)
    ax.legend(frameon=False, fontsize=9)
    ax.set_ylabel("free energy (kT)", fontsize=10)
    ax.set_xlabel(axis_label(fes.names[0], fes.cv_units[0]), fontsize=10)
    _set_limits(ax, fes)
    return made


def _set_limits(ax: Axes, fes: FreeEnergy) -> None:
    """The full circle for angles, what was visited otherwise."""
    seen = np.isfinite(_low(fes))
    for k, (edges, unit, axis) in enumerate(zip(fes.edges, fes.cv_units, (ax.xaxis, ax.yaxis), strict=False)):
        limits = in_degrees(edges[[0, -1]], unit)
        if not fes.periodic[k]:
            visited = np.flatnonzero(seen if seen.ndim == 1 else seen.any(1 - k))
            limits = in_degrees(edges[[visited[0], visited[-1] + 1]], unit)
        elif unit == "rad":
            set_angle_ticks(axis)
        (ax.set_xlim if k == 0 else ax.set_ylim)(*limits)
