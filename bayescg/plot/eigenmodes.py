"""Figures of slow modes: spectra, eigenfunctions, timescales against lag, Chapman-Kolmogorov tests, committors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.draws import interval
from bayescg.errors import DataError
from bayescg.plot.style import BLUE, GREY, INK, ORANGE, axis_label, figure, in_degrees, set_angle_ticks

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayescg.analysis import ChapmanKolmogorov, Committor, SlowModes

__all__ = ["chapman_kolmogorov", "committor", "eigenfunctions", "spectrum", "timescales"]

COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9")


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
    made, (ax,) = figure(1, 1, 3.4, 3.0)
    low, high = modes.ci90.values
    middle = np.where(np.isnan(low), np.nan, np.median(modes.eigenvalues.values, 0))  # none for unresolved modes
    ax.errorbar(
        number,
        middle,
        [middle - low, high - middle],
        fmt="o",
        color=BLUE,
        ms=5,
        capsize=4,
        lw=1.5,
        label="90 % interval",
    )
    if exact is not None:
        ax.plot(number + 0.15, exact, "_", color=ORANGE, ms=14, mew=2, label="exact")
        ax.legend(frameon=False, fontsize=9, loc="upper left")
    ax.set_yscale("log")
    ax.set_xticks(number)
    ax.set_xlim(number[0] - 0.5, number[-1] + 0.5)
    ax.set_xlabel("mode", fontsize=10)
    ax.set_ylabel(axis_label("eigenvalue", f"1/{modes.unit}" if modes.unit else ""), fontsize=10)
    return made


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
    chosen, at = _places(frames, coordinates, units)
    mean, sd = modes.eigenfunction_moments(frames[chosen])
    if at.shape[1] == 1:
        return _over_one(modes, at[:, 0], mean, sd, names[0], units[0])
    count = mean.shape[1]
    made, axes = figure(2, count, 3.1, 2.6)
    for k in range(count):
        top = float(np.quantile(np.abs(mean[:, k]), 0.999))  # a rare state is what a slow mode is often about
        _over_two(
            axes[k], at, mean[:, k], np.abs(mean[:, k]), "RdBu_r", (-top, top), f"eigenfunction {k + 1}", names, units
        )
        high = float(np.quantile(sd[:, k], 0.999))
        _over_two(axes[count + k], at, sd[:, k], sd[:, k], "cividis", (0.0, high), "standard deviation", names, units)
    return made


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
    chosen, at = _places(frames, coordinates, units)
    q = found.summary(frames[chosen])
    if at.shape[1] == 1:
        made, (ax,) = figure(1, 1, 4.4, 3.3)
        order = np.argsort(at[:, 0])
        x, middle, low, high = at[order, 0], *(q[k].values[order] for k in ("mean", "low", "high"))
        ax.fill_between(x, low, high, color=BLUE, alpha=0.25, lw=0)
        ax.plot(x, middle, color=BLUE, lw=1.3)
        ax.set_xlabel(axis_label(names[0], units[0]), fontsize=10)
        ax.set_ylabel("committor, 90 % band", fontsize=10)
        return made
    made, axes = figure(1, 2, 3.4, 2.8)
    mean, sd = q["mean"].values, q["sd"].values
    _over_two(axes[0], at, mean, mean * (1 - mean), "RdBu_r", (0.0, 1.0), "committor", names, units)
    _over_two(axes[1], at, sd, sd, "cividis", (0.0, float(sd.max())), "standard deviation", names, units)
    return made


def timescales(found: xr.DataArray, truth: Sequence[float] | None = None) -> Figure:
    """Implied timescales against lag with 90 % bands; grey where a timescale is shorter than the lag.

    A mode has no point at a lag that leaves it unresolved (NaN).

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
    made, (ax,) = figure(1, 1, 4.4, 3.3)
    lags, unit = found["lag"].values, found.attrs.get("unit", "")
    fine = np.linspace(lags[0], lags[-1], 200)  # a straight line is none on a logarithmic scale
    ax.fill_between(fine, 0, fine, color=GREY, alpha=0.25, lw=0)
    values = found.transpose("draw", "lag", "mode").values
    low, high = interval(values, 0.9)
    for k, mode in enumerate(found["mode"].values):
        colour, resolved = COLOURS[k % len(COLOURS)], "" if np.isfinite(low[:, k]).any() else ", unresolved"
        ax.fill_between(lags, low[:, k], high[:, k], color=colour, alpha=0.25, lw=0)
        ax.plot(lags, np.median(values[:, :, k], 0), "o-", color=colour, ms=4, lw=1.5, label=f"mode {mode}{resolved}")
        if exact is not None:
            ax.axhline(exact[k], color=INK, lw=0.8, ls="--", label="exact" if k == 0 else None)
    ax.set_yscale("log")
    seen = np.concatenate([low[np.isfinite(low)], high[np.isfinite(high)], lags])
    ax.set_ylim(0.5 * float(seen.min()), 2.0 * float(seen.max()))
    if len(lags) > 1:
        ax.set_xlim(lags[0], lags[-1])
    ax.set_xlabel(axis_label("lag", unit), fontsize=10)
    ax.set_ylabel(axis_label("implied timescale", unit), fontsize=10)
    ax.legend(frameon=False, fontsize=9)
    return made


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
    made, axes = figure(k, k, 2.3, 1.9)
    lags = test.predicted["lag"].values
    for i in range(k):
        for j in range(k):
            ax: Axes = axes[k * i + j]
            predicted, measured = (a.values[:, :, i, j] for a in (test.predicted, test.measured))
            low, high = interval(predicted, 0.9)
            ax.fill_between(lags, low, high, color=BLUE, alpha=0.25, lw=0)
            ax.plot(lags, np.median(predicted, 0), color=BLUE, lw=1.5, label="predicted")
            low, high = interval(measured, 0.9)
            middle = np.median(measured, 0)
            ax.errorbar(
                lags,
                middle,
                [middle - low, high - middle],
                fmt="o",
                color=ORANGE,
                ms=3.5,
                lw=1,
                capsize=2,
                label="measured",
            )
            ax.axhline(0.0, color=GREY, lw=0.6)
            ax.set_title(f"{i + 1} → {j + 1}", fontsize=9)
            ax.set_ylim(*((-0.05, 1.05) if i == j else (-0.3, 0.3)))
            if i == k - 1:
                ax.set_xlabel(axis_label("lag", test.predicted.attrs.get("unit", "")), fontsize=9)
            if j == 0:
                ax.set_ylabel("correlation", fontsize=9)
    axes[0].legend(frameon=False, fontsize=8)
    return made


def _over_one(modes: SlowModes, x: np.ndarray, mean: np.ndarray, sd: np.ndarray, name: str, unit: str) -> Figure:
    made, (ax,) = figure(1, 1, 4.4, 3.3)
    order = np.argsort(x)
    for k in range(mean.shape[1]):
        colour, m, s = COLOURS[k % len(COLOURS)], mean[order, k], 1.645 * sd[order, k]
        ax.fill_between(x[order], m - s, m + s, color=colour, alpha=0.25, lw=0)
        ax.plot(x[order], m, color=colour, lw=1.3, label=f"mode {modes.eigenvalues['mode'].values[k]}")
    ax.axhline(0.0, color=GREY, lw=0.6)
    ax.set_xlabel(axis_label(name, unit), fontsize=10)
    ax.set_ylabel("eigenfunction, 90 % band", fontsize=10)
    ax.legend(frameon=False, fontsize=9)
    return made


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
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), 20_000)).astype(np.int64))
    values = np.asarray(coordinates)
    shape = values.shape
    if values.dtype.kind not in "fiu" or shape not in ((len(frames),), (len(frames), 1), (len(frames), 2)):
        told = f"shape {shape}" if values.dtype.kind in "fiu" else repr(coordinates)[:60]
        raise DataError(
            f"coordinates: {told}; they are where each frame is drawn, one or two numbers for each of {len(frames)}, "
            "such as the values of observables"
        )
    at = values[chosen].reshape(len(chosen), -1)
    return chosen, np.stack([in_degrees(c, u) for c, u in zip(at.T, units, strict=False)], 1)


def _over_two(
    ax: Axes, at: np.ndarray, values: np.ndarray, rare: np.ndarray, colours: str, limits: tuple[float, float],
    what: str, names: Sequence[str], units: Sequence[str],
) -> None:  # fmt: skip
    """Values at points (n, 2); what is rare lies above what is common."""
    order = np.argsort(rare)
    low, high = limits
    drawn = ax.scatter(*at[order].T, c=values[order], s=3, lw=0, cmap=colours, vmin=low, vmax=high, rasterized=True)
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.02)
    bar.set_label(what, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)  # type: ignore[operator]
    for axis, name, unit in ((ax.xaxis, names[0], units[0]), (ax.yaxis, names[1], units[1])):
        axis.set_label_text(axis_label(name, unit), fontsize=9)
        if unit == "rad":
            set_angle_ticks(axis)
