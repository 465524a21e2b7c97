"""Figures of slow modes: spectra, eigenfunctions, timescales against lag, Chapman-Kolmogorov tests, committors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.data import evenly
from bayescg.draws import interval
from bayescg.errors import DataError
from bayescg.plot.style import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    ORANGE,
    axis_label,
    band,
    colour_bar,
    figure,
    in_degrees,
    intervals,
    name_axis,
)
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayescg.analysis import ChapmanKolmogorov, Committor, SlowModes

__all__ = ["chapman_kolmogorov", "committor", "eigenfunctions", "spectrum", "timescales"]


@figure_of("bayescg.analysis.spectrum")
def spectrum(modes: SlowModes, truth: Sequence[float] | None = None) -> Figure:
    """Eigenvalues with their 90 % intervals, on a logarithmic scale; the exact ones beside them where they are known.

    Parameters
    ----------
    modes : SlowModes
    truth : sequence of float, optional
        Exact eigenvalues, one for each mode.

    Raises
    ------
    DataError
        There are more or fewer exact eigenvalues than modes.

    Examples
    --------
    >>> import bayescg as bcg, torch
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic(), 1000, dt=0.01, chains=20, stride=10)
    >>> found = bcg.analysis.spectrum(lambda x: torch.cat([x, x**2], 1), frames, modes=2)
    >>> spectrum(found, truth=[1, 2]).axes[0].get_xlabel()
    'mode'
    """
    number = modes.eigenvalues["mode"].values
    exact = _exact(truth, number)
    fig, (ax,) = figure(1, 1, 3.4, 3.0)
    low, high = modes.ci90.values
    middle = np.where(np.isnan(low), np.nan, np.median(modes.eigenvalues.values, 0))  # none without an interval
    intervals(ax, number, middle, (low, high), BLUE, "90 % interval", ms=5, capsize=4, lw=1.5)
    if exact is not None:
        ax.plot(number + 0.15, exact, "_", color=ORANGE, ms=14, mew=2, label="exact")
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    ax.set(yscale="log", xticks=number, xlim=(number[0] - 0.5, number[-1] + 0.5), xlabel="mode")
    ax.set_ylabel(axis_label("eigenvalue", f"1/{modes.unit}" if modes.unit else ""))
    return fig


@figure_of("bayescg.analysis.spectrum")
def eigenfunctions(
    modes: SlowModes,
    frames: Any,
    coordinates: Any,
    names: Sequence[str] = ("x1", "x2"),
    units: Sequence[str] = ("", ""),
) -> Figure:
    """Mean of each eigenfunction (above) and its standard deviation (below) over one or two coordinates of the frames.

    Parameters
    ----------
    modes : SlowModes
    frames : Tensor, ndarray or Frames
        Positions; at most 20 000 of them are drawn.
    coordinates : ndarray, (n, 2) or (n,)
        Where each frame is drawn.
    names : sequence of str
    units : sequence of str
        ``"rad"`` is drawn in degrees.

    Raises
    ------
    DataError
        The coordinates are not one or two numbers for each frame.

    Examples
    --------
    >>> import bayescg as bcg, torch
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic((1.0, 2.0)), 1000, dt=0.01, chains=20, stride=10)
    >>> found = bcg.analysis.spectrum(lambda x: torch.cat([x, x**2], 1), frames, modes=2)
    >>> len(eigenfunctions(found, frames, frames.positions).axes)
    8
    """
    index, at = _places(frames, coordinates, units)
    mean, sd = modes.eigenfunction_moments(frames[index])
    if at.shape[1] == 1:
        half, labels = 1.645 * sd, [f"mode {mode}" for mode in modes.eigenvalues["mode"].values]
        curves = np.stack([mean, mean - half, mean + half], 1).T
        fig = _over_one(at[:, 0], dict(zip(labels, curves, strict=True)), names[0], units[0], "eigenfunction")
        fig.axes[0].axhline(0.0, color=GREY, lw=0.6)
        fig.axes[0].legend(frameon=False, fontsize=9)
        return fig
    count = mean.shape[1]
    fig, axes = figure(2, count, 3.1, 2.6)
    for k in range(count):
        top = float(np.quantile(np.abs(mean[:, k]), 0.999))  # a rare state is what a slow mode is often about
        _over_two(
            axes[k], at, mean[:, k], np.abs(mean[:, k]), "RdBu_r", (-top, top), f"eigenfunction {k + 1}", names, units
        )
        high = float(np.quantile(sd[:, k], 0.999))
        _over_two(axes[count + k], at, sd[:, k], sd[:, k], "cividis", (0.0, high), "standard deviation", names, units)
    return fig


@figure_of("bayescg.analysis.committor")
def committor(
    found: Committor,
    frames: Any,
    coordinates: Any,
    names: Sequence[str] = ("x1", "x2"),
    units: Sequence[str] = ("", ""),
) -> Figure:
    """Mean of a committor and its standard deviation over two coordinates of the frames, or its band over one.

    Parameters
    ----------
    found : Committor
        Of :func:`bayescg.analysis.committor`.
    frames, coordinates, names, units
        As for :func:`eigenfunctions`.

    Examples
    --------
    >>> import bayescg as bcg, torch
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic((1.0, 2.0)), 1000, dt=0.01, chains=20, stride=5)
    >>> sets = (lambda x: x[:, 0] < -1), (lambda x: x[:, 0] > 1)
    >>> found = bcg.analysis.committor(lambda x: torch.cat([x, x**2], 1), frames, *sets)
    >>> len(committor(found, frames, frames.positions).axes)
    4
    """
    index, at = _places(frames, coordinates, units)
    q = found.summary(frames[index])
    if at.shape[1] == 1:
        curves = {"q": [q[k].values for k in ("mean", "low", "high")]}
        return _over_one(at[:, 0], curves, names[0], units[0], "committor")
    fig, axes = figure(1, 2, 3.4, 2.8)
    mean, sd = q["mean"].values, q["sd"].values
    _over_two(axes[0], at, mean, mean * (1 - mean), "RdBu_r", (0.0, 1.0), "committor", names, units)
    _over_two(axes[1], at, sd, sd, "cividis", (0.0, float(sd.max())), "standard deviation", names, units)
    return fig


@figure_of("bayescg.analysis.implied_timescales")
def timescales(found: xr.DataArray, truth: Sequence[float] | None = None) -> Figure:
    """Implied timescales against lag with 90 % bands; grey where a timescale is shorter than the lag.

    A mode has no point at a lag at which it has no interval (NaN).

    Parameters
    ----------
    found : DataArray, (lag, draw, mode)
        Of :func:`bayescg.analysis.implied_timescales`.
    truth : sequence of float, optional
        Exact timescales, one for each mode.

    Raises
    ------
    DataError
        There are more or fewer exact timescales than modes.

    Examples
    --------
    >>> import xarray as xr
    >>> draws = np.random.default_rng(0).lognormal(sigma=0.1, size=(3, 50, 2))
    >>> lags = xr.DataArray(draws, dims=("lag", "draw", "mode"), coords={"lag": [0.1, 0.2, 0.4], "mode": [1, 2]})
    >>> timescales(lags).axes[0].get_xlabel()
    'lag'
    """
    exact = _exact(truth, found["mode"].values)
    fig, (ax,) = figure(1, 1, 4.4, 3.3)
    lags, unit = found["lag"].values, found.attrs.get("unit", "")
    fine = np.linspace(lags[0], lags[-1], 200)  # a straight line is none on a logarithmic scale
    band(ax, fine, (0, fine), GREY)
    values = found.transpose("draw", "lag", "mode").values
    low, high = interval(values, 0.9)
    for k, mode in enumerate(found["mode"].values):
        colour, resolved = COLOURS[k % len(COLOURS)], "" if np.isfinite(low[:, k]).any() else ", no interval"
        band(ax, lags, (low[:, k], high[:, k]), colour)
        ax.plot(lags, np.median(values[:, :, k], 0), "o-", color=colour, ms=4, lw=1.5, label=f"mode {mode}{resolved}")
        if exact is not None:
            ax.axhline(exact[k], color=INK, lw=0.8, ls="--", label="exact" if k == 0 else None)
    ax.set_yscale("log")
    ends = np.concatenate([low[np.isfinite(low)], high[np.isfinite(high)], lags])
    ax.set_ylim(0.5 * float(ends.min()), 2.0 * float(ends.max()))
    if len(lags) > 1:
        ax.set_xlim(lags[0], lags[-1])
    ax.set(xlabel=axis_label("lag", unit), ylabel=axis_label("implied timescale", unit))
    ax.legend(frameon=False, fontsize=9)
    return fig


@figure_of("bayescg.analysis.chapman_kolmogorov")
def chapman_kolmogorov(test: ChapmanKolmogorov) -> Figure:
    """Correlations of the modes against lag: predicted from the shortest one (line and band), and measured (points).

    Parameters
    ----------
    test : ChapmanKolmogorov

    Examples
    --------
    >>> import bayescg as bcg, torch
    >>> frames = bcg.sampling.overdamped(bcg.systems.Harmonic(), 1000, dt=0.01, chains=20, stride=10)
    >>> asked = bcg.analysis.chapman_kolmogorov(lambda x: torch.cat([x, x**2], 1), frames, 0.1, modes=2)
    >>> len(chapman_kolmogorov(asked).axes)
    4
    """
    k = test.predicted.sizes["from"]
    fig, axes = figure(k, k, 2.3, 1.9)
    lags = test.predicted["lag"].values
    for i in range(k):
        for j in range(k):
            ax: Axes = axes[k * i + j]
            predicted, measured = (a.values[:, :, i, j] for a in (test.predicted, test.measured))
            band(ax, lags, interval(predicted, 0.9), BLUE)
            ax.plot(lags, np.median(predicted, 0), color=BLUE, lw=1.5, label="predicted")
            middle, ends = np.median(measured, 0), interval(measured, 0.9)
            intervals(ax, lags, middle, ends, ORANGE, "measured", ms=3.5, lw=1, capsize=2)
            ax.axhline(0.0, color=GREY, lw=0.6)
            ax.set_title(f"{i + 1} → {j + 1}", fontsize=9)
            ax.set_ylim(*((-0.05, 1.05) if i == j else (-0.3, 0.3)))
            if i == k - 1:
                ax.set_xlabel(axis_label("lag", test.predicted.attrs.get("unit", "")))
            if j == 0:
                ax.set_ylabel("correlation")
    axes[0].legend(frameon=False, fontsize=8)
    return fig


def _over_one(x: np.ndarray, curves: Mapping[str, Any], name: str, unit: str, what: str) -> Figure:
    """Lines with bands over one coordinate: of each label the middle, the low and the high end, (n,)."""
    fig, (ax,) = figure(1, 1, 4.4, 3.3)
    order = np.argsort(x)
    for k, (label, rows) in enumerate(curves.items()):
        middle, *ends = (row[order] for row in rows)
        band(ax, x[order], ends, COLOURS[k % len(COLOURS)])
        ax.plot(x[order], middle, color=COLOURS[k % len(COLOURS)], lw=1.3, label=label)
    ax.set(xlabel=axis_label(name, unit), ylabel=f"{what}, 90 % band")
    return fig


def _exact(truth: Sequence[float] | None, modes: np.ndarray) -> np.ndarray | None:
    """Exact values, one for each mode."""
    if truth is None:
        return None
    values = np.asarray(truth, np.float64)
    if values.shape != modes.shape:
        raise DataError(f"truth has shape {values.shape}, not one value for each of {len(modes)} modes")
    return values


def _places(frames: Any, coordinates: Any, units: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Some of the frames, evenly spaced, and where each is drawn (n, 1 or 2)."""
    index = evenly(frames)
    values = np.asarray(coordinates)
    shape = values.shape
    if values.dtype.kind not in "fiu" or shape not in ((len(frames),), (len(frames), 1), (len(frames), 2)):
        shown = f"shape {shape}" if values.dtype.kind in "fiu" else repr(coordinates)[:60]
        raise DataError(
            f"coordinates: {shown}; they are where each frame is drawn, one or two numbers for each of {len(frames)}, "
            "such as the values of observables"
        )
    at = values[index].reshape(len(index), -1)
    return index, np.stack([in_degrees(c, u) for c, u in zip(at.T, units, strict=False)], 1)


def _over_two(
    ax: Axes, at: np.ndarray, values: np.ndarray, rare: np.ndarray, colours: str, limits: tuple[float, float],
    what: str, names: Sequence[str], units: Sequence[str],
) -> None:  # fmt: skip
    """Values at points (n, 2); what is rare lies above what is common."""
    order = np.argsort(rare)
    low, high = limits
    points = ax.scatter(*at[order].T, c=values[order], s=3, lw=0, cmap=colours, vmin=low, vmax=high, rasterized=True)
    colour_bar(points, ax, what)
    for axis, name, unit in zip((ax.xaxis, ax.yaxis), names, units, strict=False):
        name_axis(axis, name, unit)
