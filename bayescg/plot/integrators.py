"""Figures of trajectories of long time steps: energies, equipartition, phase space, vibrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayescg.plot.style import BLUE, COLOURS, GREY, band, figure, name_axis
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from bayescg.analysis import IntegratorCheck
    from bayescg.data import Frames

__all__ = ["energy_errors", "equipartition", "phase_portrait", "radial_distribution", "vibrations"]

_LEAST, _HIGHEST = 1e-16, 2.5


@figure_of("bayescg.analysis.integrator_check")
def energy_errors(checks: Mapping[str, IntegratorCheck], unit: str = "", level: float = 0.9) -> Figure:
    """Change of the total energy in time, the median size over trajectories and a band of them, on a logarithmic axis.

    Parameters
    ----------
    checks : mapping of str to IntegratorCheck
        By the names of integrators; those that know no energy are left out.
    unit : str
        Of energy.
    level : float
        Share of trajectories in the band.

    Examples
    --------
    >>> import bayescg as bcg
    >>> system = bcg.systems.HenonHeiles()
    >>> path = bcg.sampling.newtonian(system, 20, dt=0.2, starts=system.shell(5))
    >>> check = bcg.analysis.integrator_check(None, path, system, canonical=False)
    >>> len(energy_errors({"Verlet": check}).axes), len(equipartition({"Verlet": check}).axes)
    (1, 1)
    """
    fig, (ax,) = figure(1, 1, 5.2, 3.2)
    for colour, (name, check) in zip(COLOURS, checks.items(), strict=False):
        if check.energies is None:
            continue
        energy = check.energies.to_numpy()
        change = np.abs(energy - energy[:, :1])[:, 1:]
        time = check.energies["time"].to_numpy()[1:]
        change = np.maximum(change, _LEAST)
        ends = np.nanquantile(change, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
        band(ax, time, (ends[0], ends[2]), colour)
        ax.plot(time, ends[1], color=colour, lw=1.2, label=name)
    ax.set_yscale("log")
    name_axis(ax.xaxis, "time", "ps" if unit else "")
    name_axis(ax.yaxis, "change of the energy", unit)
    fig.legend(frameon=False, fontsize=9, loc="outside upper center", ncols=3)
    return fig


@figure_of("bayescg.analysis.integrator_check")
def equipartition(checks: Mapping[str, IntegratorCheck]) -> Figure:
    """Kinetic temperature of each coordinate or element, with 90 % intervals, for each integrator.

    Those above 2.5 times what they should be are triangles at the top.

    Parameters
    ----------
    checks : mapping of str to IntegratorCheck
    """
    fig, (ax,) = figure(1, 1, 5.2, 3.0)
    first = next(iter(checks.values()))
    level = 1.0 if first.canonical else float(np.mean([t.mean for t in first.temperatures.values()]))
    top, width = _HIGHEST * level, 0.7 / len(checks)
    for k, (colour, (name, check)) in enumerate(zip(COLOURS, checks.items(), strict=False)):
        places = np.arange(len(check.temperatures)) + (k - (len(checks) - 1) / 2) * width
        for place, temperature in zip(places, check.temperatures.values(), strict=True):
            ends = temperature.ci90 or (temperature.mean, temperature.mean)
            ax.plot([place, place], np.clip(ends, 0.0, top), color=colour, lw=1.6)
            inside = temperature.mean < top
            ax.plot(place, min(temperature.mean, top), "o" if inside else "^", color=colour, ms=4 if inside else 7)
        ax.plot([], [], "o", color=colour, ms=4, label=name)
    ax.set_ylim(top=min(ax.get_ylim()[1], 1.03 * top))
    ax.axhline(level, color=GREY, lw=0.8, zorder=0)
    ax.set_xticks(np.arange(len(first.temperatures)), list(first.temperatures))
    ax.set_ylabel("kinetic temperature / T")
    fig.legend(frameon=False, fontsize=9, loc="outside upper center", ncols=3)
    return fig


@figure_of("bayescg.sampling.mapped_dynamics")
def phase_portrait(path: Frames, coordinates: tuple[int, ...] = (0, 1), most: int = 6, points: int = 2000) -> Figure:
    """Positions and momenta of some coordinates along trajectories, each in a colour of its own.

    Parameters
    ----------
    path : Frames
        With momenta.
    coordinates : tuple of int
        A panel for each.
    most : int
        Trajectories at most.
    points : int
        Of each trajectory at most.

    Examples
    --------
    >>> import bayescg as bcg
    >>> system = bcg.systems.HenonHeiles()
    >>> len(phase_portrait(bcg.sampling.newtonian(system, 20, dt=0.2, starts=system.shell(5))).axes)
    2
    """
    q, p = (np.asarray(x).reshape(len(path), -1) for x in (path.positions, path.momenta))
    coordinates = tuple(k for k in coordinates if k < q.shape[1])
    fig, axes = figure(1, len(coordinates), 3.2, 3.0)
    each = np.unique(path.trajectory)
    each = each[np.linspace(0, len(each) - 1, min(most, len(each))).astype(int)]
    for ax, k in zip(axes, coordinates, strict=True):
        for colour, trajectory in zip(COLOURS * 2, each, strict=False):
            rows = np.flatnonzero(path.trajectory == trajectory)
            rows = rows[np.linspace(0, len(rows) - 1, min(points, len(rows))).astype(int)]
            ax.plot(q[rows, k], p[rows, k], ".", color=colour, ms=1.5, rasterized=True)
        name_axis(ax.xaxis, f"position x{k + 1}", "nm" if path.unit == "nm" else "")
        name_axis(ax.yaxis, "its momentum", "Da nm/ps" if path.unit == "nm" else "")
    return fig


@figure_of("bayescg.analysis.integrator_check")
def vibrations(check: IntegratorCheck, level: float = 0.9) -> Figure:
    """Velocity autocorrelation and vibrational spectrum: the median of the draws and their band.

    Parameters
    ----------
    check : IntegratorCheck
    level : float
        Of the band.

    Examples
    --------
    >>> import bayescg as bcg
    >>> system = bcg.systems.HenonHeiles()
    >>> path = bcg.sampling.newtonian(system, 20, dt=0.2, starts=system.shell(5))
    >>> len(vibrations(bcg.analysis.integrator_check(None, path, system, canonical=False)).axes)
    2
    """
    fig, axes = figure(1, 2, 3.6, 2.8)
    for ax, name, along in zip(axes, ("autocorrelation", "spectrum"), ("lag", "frequency"), strict=True):
        values, x = check.motion[name].to_numpy(), check.motion[along].to_numpy()
        low, middle, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
        if len(values) > 1:
            band(ax, x, (low, high), BLUE)
        ax.plot(x, middle, color=BLUE, lw=1.1)
        ax.set_xlabel({"lag": "time", "frequency": "frequency"}[along])
        ax.set_ylabel({"autocorrelation": "velocity autocorrelation", "spectrum": "spectrum"}[name])
    return fig


@figure_of("bayescg.analysis.radial_distribution")
def radial_distribution(curves: Mapping[str, xr.DataArray], level: float = 0.9) -> Figure:
    """Neighbours per unit of distance, a panel for each pair of kinds: the median of the draws and their band.

    Parameters
    ----------
    curves : mapping of str to DataArray
        By the names of integrators, of the same kinds.
    level : float
        Of the band.

    Examples
    --------
    >>> import bayescg as bcg
    >>> cluster = bcg.systems.LennardJonesCluster(3)
    >>> path = bcg.sampling.newtonian(cluster, 20, dt=0.01, starts=5)
    >>> len(radial_distribution({"Verlet": bcg.analysis.radial_distribution(path)}).axes)
    1
    """
    pairs = next(iter(curves.values()))["pair"].values
    fig, axes = figure(-(-len(pairs) // 3), min(3, len(pairs)), 3.6, 2.8)
    for ax, pair in zip(axes, pairs, strict=False):
        for colour, (name, curve) in zip(COLOURS, curves.items(), strict=False):
            values = curve.sel(pair=pair).values
            low, middle, high = np.quantile(values, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
            if len(values) > 1:
                band(ax, curve["r"].values, (low, high), colour)
            ax.plot(curve["r"].values, middle, color=colour, lw=1.1, label=name)
        unit = str(next(iter(curves.values())).attrs["unit"])
        name_axis(ax.xaxis, "distance" if pair == "all-all" else f"distance {pair}", unit)
        ax.set_ylabel("neighbours per unit of distance")
    axes[0].legend(frameon=False, fontsize=9)
    return fig
