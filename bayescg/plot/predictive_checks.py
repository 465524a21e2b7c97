"""Figures that compare what a model predicts with what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.analysis import PredictiveCheck
from bayescg.analysis.evaluation import evaluate, label, named_observables
from bayescg.data import Frames, evenly
from bayescg.plot.style import BLUE, INK, figure, in_degrees, name_axis, stair_band
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayescg.analysis import ObservableCheck
    from bayescg.inference import Fit

__all__ = ["predictive_check", "ramachandran"]


@figure_of("bayescg.analysis.predictive_check")
def predictive_check(check: PredictiveCheck) -> Figure:
    """One panel for each observable: the histogram seen, and the predicted one with its bands.

    Points are the frames, with their multinomial standard error; the line is the predicted mean; the dark band holds
    the uncertainty of the parameters, the light one the error of the frames too.

    Parameters
    ----------
    check : PredictiveCheck

    Examples
    --------
    >>> import bayescg as bcg
    >>> from bayescg.models import PredictiveCV
    >>> model, frames, _ = PredictiveCV.example()
    >>> fit = bcg.fit(model, frames, steps=100, uncertainty="none", seed=0)
    >>> first = type("First", (), {"name": "x", "unit": "", "__call__": lambda self, x: x[..., 0]})()
    >>> len(predictive_check(bcg.analysis.predictive_check(fit, frames, [first])).axes)
    1
    """
    columns = min(3, len(check))
    fig, axes = figure(-(-len(check) // columns), columns)
    for ax, observable in zip(axes, check, strict=False):
        _observable(ax, observable, f"{100 * check.level:.0f} %")
    handles, labels = axes[0].get_legend_handles_labels()
    spare = axes[len(check) :]
    for ax in spare:
        ax.set_axis_off()
    if spare:
        spare[0].legend(handles, labels, loc="center left", frameon=False, fontsize=9)
    else:
        fig.legend(
            handles, labels, loc="outside upper center", ncols=2 if columns < 3 else 4, frameon=False, fontsize=9
        )
    return fig


def _observable(ax: Axes, o: ObservableCheck, level: str) -> None:
    edges = in_degrees(o.edges, o.unit)
    centres = (edges[1:] + edges[:-1]) / 2
    stair_band(ax, edges, o.predictive, 0.2, f"{level} predictive band")
    if len(o.predicted) > 1:
        stair_band(ax, edges, o.credible, 0.4, f"{level} credible band")
    ax.stairs(o.predicted.mean(0), edges, baseline=None, color=BLUE, lw=1.3, label="predicted")
    some = o.counts > 0
    ax.errorbar(centres[some], o.observed[some], o.observed_se[some], fmt="o", ms=3, lw=0.9, color=INK, label="frames")
    name_axis(ax.xaxis, o.name, o.unit)
    ax.set(xlim=(edges[0], edges[-1]), ylabel="fraction of frames")
    ax.set_ylim(bottom=0)
    ax.set_title(f"p(mean) = {o.p_mean:.2f}, p(sd) = {o.p_sd:.2f}", fontsize=9, color=INK, loc="left")


@figure_of("bayescg.fit")
def ramachandran(fit: Fit, frames: Frames, seed: int = 0, torsions: Sequence[str] = ("phi", "psi")) -> Figure:
    """φ and ψ of the frames, and of as many configurations that the model generates, side by side.

    Parameters
    ----------
    fit : Fit
    frames : Frames
        With a topology.
    seed : int
    torsions : (str, str)
        Which two, such as ``("phi ALA-3", "psi ALA-3")``; of several torsions with a name, the first.

    Raises
    ------
    DataError
        There is no topology.
    TopologyError
        The molecule has no such torsion.
    ModelError
        The model generates no configurations.
    """
    fig, axes = figure(1, 2, 3.2, 3.1)
    count = min(len(frames), 2000)
    shown = frames.subset(evenly(frames, count))
    angles = [named_observables([name], fit, shown)[0] for name in torsions]
    # draws share their random numbers, so each configuration is taken from one draw, in turn
    generated = fit.generate(count, None if fit.weights.members else 20, seed).cpu()
    x = generated[np.arange(count) % len(generated), np.arange(count)]
    pairs: list[tuple[str, list[Any], str]] = [
        ("frames", [evaluate(a, shown) for a in angles], INK),
        ("generated", [a(x).numpy() for a in angles], BLUE),
    ]
    for ax, (title, (phi, psi), colour) in zip(axes, pairs, strict=True):
        ax.scatter(np.rad2deg(phi), np.rad2deg(psi), s=5, color=colour, alpha=0.5, lw=0)
        for axis, angle in zip((ax.xaxis, ax.yaxis), angles, strict=True):
            name_axis(axis, label(angle), "rad")
        ax.set(xlim=(-180, 180), ylim=(-180, 180), aspect="equal")
        ax.set_title(title, fontsize=10, loc="left")
    return fig
