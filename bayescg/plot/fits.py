"""Figures of a fit: its CVs, and how it was trained."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import gaussian_kde

from bayescg.analysis.evaluation import evaluate, label, named_observables, unit_of
from bayescg.data import Frames, evenly
from bayescg.errors import DataError
from bayescg.plot.style import BLUE, GREY, INK, ORANGE, axis_label, colour_bar, figure, in_degrees, name_axis
from bayescg.plot.subjects import figure_of
from bayescg.recording.functional import seeded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.inference import Fit
    from bayescg.modelling import Model

__all__ = ["cv", "loss"]

SHOWN = 4000


@figure_of("bayescg.fit")
def cv(
    fit: Fit, frames: Frames, color: str | Callable[..., Any] = "density", ellipses: int = 8, seed: int = 0
) -> Figure:
    """Frames in the plane of the first two CVs, or over the only one, with the uncertainty of a few.

    Ellipses (bars, with one CV) hold 90 % of the distribution ``fit.cv`` of a frame.

    Parameters
    ----------
    fit : Fit
    frames : Frames
        At most 4000 are shown, evenly spaced.
    color : str or callable
        An observable by name (``"phi"``, ``"psi"``, ...) or callable, or ``"density"``, the density of the points.
    ellipses : int
        How many frames to draw the uncertainty of.
    seed : int

    Raises
    ------
    ModelError
        The model has no CV.

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import PredictiveCV
    >>> model, frames, _ = PredictiveCV.example()
    >>> fit = bcg.fit(model, frames, steps=100, uncertainty="none", seed=0)
    >>> cv(fit, frames).axes[0].get_xlabel()
    'CV'
    """
    shown = frames.subset(evenly(frames, SHOWN))
    means = evaluate(lambda x: fit.cv(x).mean, shown)
    if means.ndim != 2:
        raise DataError(f"the CVs of {len(shown)} frames have shape {means.shape}, not (frames, CVs)")
    picked = evenly(shown, ellipses)
    spread = _covariances(fit, shown, picked, seed)
    if means.shape[1] == 1:
        return _line(fit, shown, means[:, 0], spread[:, 0, 0] ** 0.5, picked, color)
    fig, (ax,) = figure(1, 1, 4.8, 3.9)
    values, name, unit = _colours(fit, shown, means[:, :2], color)
    order, limits, ticks = np.argsort(values), {"cmap": "cividis"}, None
    if unit == "rad":
        order, ticks = np.arange(len(values)), np.arange(-180, 181, 90)
        limits = {"cmap": "twilight_shifted", "vmin": -180, "vmax": 180}
    points = ax.scatter(*means[order, :2].T, c=in_degrees(values, unit)[order], s=8, lw=0, **limits)
    colour_bar(points, ax, axis_label(name, unit), ticks=ticks)
    for i, covariance in zip(picked, spread, strict=True):
        ax.add_patch(_ellipse(means[i, :2], covariance[:2, :2]))
        ax.plot(*means[i, :2], "o", ms=4, mfc="white", mec=INK, mew=0.9)
    ax.set(xlabel="CV 1", ylabel="CV 2")
    return fig


@figure_of("bayescg.fit")
def loss(fit: Fit) -> Figure:
    """The loss of training and held-out frames over the steps: minus the bound on log p, in nats a frame.

    Of a model that is no likelihood it is whatever that model minimises, without a unit.
    Of a model without frames it is minus the bound on log Z at the temperature of the time; dotted lines mark where
    that changes.

    Parameters
    ----------
    fit : Fit

    Raises
    ------
    DataError
        The fit has no log.
    """
    if not fit.log:
        raise DataError("this fit has no loss log, so there is nothing to draw")
    fig, (ax,) = figure(1, 1, 4.6, 3.0)
    shown = [("training", "training", BLUE), ("validation", "held out", ORANGE)]
    unit = loss_unit(fit.model)
    if not fit.model.needs_frames:
        shown = [("loss", fit.schedule.legend, BLUE)]
        for before, after in itertools.pairwise(fit.log):
            if after.get("beta") != before.get("beta"):  # none where nothing is tempered
                ax.axvline(after["step"], color=GREY, lw=0.6, ls=":")
    elif not any("training" in row for row in fit.log):  # nothing was held out
        shown = [("loss", "training", BLUE)]
    for key, text, colour in shown:
        rows = [(r["step"], r[key]) for r in fit.log if r.get(key) is not None]
        if rows:
            ax.plot(*np.array(rows, dtype=float).T, color=colour, lw=1.2, label=text)
    best = fit.diagnostics.get("best_step")
    if best and len(shown) > 1:
        ax.axvline(best, color=INK, lw=0.8, ls=":", label="best")
    values = np.array([r[k] for r in fit.log for k, *_ in shown if r.get(k) is not None])
    late = [r[k] for r in fit.log[len(fit.log) // 2 :] for k, *_ in shown if r.get(k) is not None]
    low, high = values.min(), max(np.quantile(values, 0.95), *late)  # the first steps may be far up, and lie outside
    ax.set_ylim(low - 0.05 * (high - low + 1e-9), high + 0.1 * (high - low + 1e-9))
    ax.set(xlabel="step", ylabel=axis_label("loss", unit))
    fig.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return fig


def loss_unit(model: Model) -> str:
    """``"nats per frame"`` of a likelihood of frames or pairs, ``"nats"`` of a bound on log Z, else none.

    Examples
    --------
    >>> from bayescg.models import Autoencoder, GeneratorEigenfunctions, ReversibleDeepMSM
    >>> [loss_unit(m) for m in (Autoencoder(), ReversibleDeepMSM(states=2), GeneratorEigenfunctions(modes=1))]
    ['nats per frame', 'nats per frame', '']
    """
    if not model.needs_frames:
        return "nats"
    likelihood = model.kind != "generalised" or model.pair_density is not None
    return "nats per frame" if likelihood else ""


def _covariances(fit: Fit, frames: Frames, picked: np.ndarray, seed: int) -> np.ndarray:
    if len(picked) == 0:
        return np.empty((0, 2, 2))
    with seeded(seed, fit.device):
        draws = fit.cv(frames.gather(picked)).sample((2000,)).cpu().double().numpy()
    centred = draws - draws.mean(0)
    return np.einsum("sna,snb->nab", centred, centred) / len(draws)


def _ellipse(centre: np.ndarray, covariance: np.ndarray) -> Any:
    from matplotlib.patches import Ellipse

    variances, axes = np.linalg.eigh(covariance)
    width, height = 2 * np.sqrt(4.605 * np.maximum(variances, 0))  # 4.605: 90 % quantile of chi-squared, 2 degrees
    angle = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
    return Ellipse((centre[0], centre[1]), width, height, angle=angle, fill=False, ec=INK, lw=0.9)


def _colours(
    fit: Fit, frames: Frames, points: np.ndarray, color: str | Callable[..., Any]
) -> tuple[np.ndarray, str, str]:
    if color != "density":
        observable = named_observables([color], fit, frames)[0]
        unit = unit_of(observable)
        return evaluate(observable, frames), label(observable), unit
    # along directions in which the points differ: probabilities of states that sum to one lie on a line
    _, widths, directions = np.linalg.svd(points - points.mean(0), full_matrices=False)
    across = points @ directions[widths > 1e-6 * max(widths[0], 1e-6)].T
    density = gaussian_kde(across.T)(across.T) if across.shape[1] else np.ones(len(points))
    return density / density.max(), "density (largest = 1)", ""


def _line(
    fit: Fit, frames: Frames, means: np.ndarray, sds: np.ndarray, picked: np.ndarray, color: str | Callable[..., Any]
) -> Figure:
    fig, (ax,) = figure(1, 1, 4.6, 3.2)
    if color == "density":
        centre, narrow = means.mean(), np.ptp(means) < 1e-6  # a histogram has no bins narrower than rounding
        bounds = (centre - 0.5, centre + 0.5) if narrow else None
        heights, _, _ = ax.hist(means, bins=40, range=bounds, color=BLUE, alpha=0.5)
        places = np.max(heights) * np.linspace(0.05, 0.6, len(picked))
        ax.set_ylabel("frames" if fit.model.needs_frames else "draws")
    else:
        values, name, unit = _colours(fit, frames, np.empty((0, 2)), color)
        values = in_degrees(values, unit)
        ax.scatter(means, values, s=7, lw=0, color=BLUE, alpha=0.5)
        places = values[picked]
        name_axis(ax.yaxis, name, unit)
    ax.errorbar(means[picked], places, xerr=1.645 * sds, fmt="o", ms=3, lw=0.9, color=INK)
    ax.set_xlabel("CV")
    return fig
