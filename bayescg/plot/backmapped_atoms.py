"""Figure of atoms that were placed around beads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.plot.style import BLUE, ORANGE, figure, in_degrees, name_axis
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.data import Frames

__all__ = ["backmapped"]

_ROW = 3  # panels


@figure_of("bayescg.sampling.backmapped")
def backmapped(
    placed: Frames, frames: Frames, observables: Sequence[str | Callable[..., Any]] = ("rg", "rmsd", "end_to_end"),
    bins: int = 40,
) -> Figure:  # fmt: skip
    """Distributions of observables over placed atoms, beside those of frames whose beads they were placed around.

    Parameters
    ----------
    placed : Frames
        Of :func:`bayescg.sampling.backmapped`.
    frames : Frames
        Of the same atoms.
    observables : sequence of str or callable
        As of :func:`bayescg.analysis.predictive_check`.
    bins : int

    Examples
    --------
    >>> import bayescg as bcg
    >>> model, frames, _ = bcg.models.Backmapping.example()
    >>> len(backmapped(frames, frames, ["rg"]).axes)
    1
    """
    from bayescg.analysis.evaluation import evaluate, label, named_observables, unit_of

    functions = named_observables(observables, None, frames)
    columns = min(_ROW, len(functions))
    fig, axes = figure(-(-len(functions) // columns), columns, 3.2, 2.7)
    for ax in axes[len(functions) :]:
        ax.remove()
    for ax, function in zip(axes, functions, strict=False):
        unit, weights = unit_of(function), (frames.weights, placed.weights)
        values = [in_degrees(evaluate(function, each), unit) for each in (frames, placed)]
        low, high = (-180.0, 180.0) if unit == "rad" else np.quantile(values[0], [0.0005, 0.9995])
        edges = np.linspace(low, high, bins + 1)
        shares = [np.histogram(v, edges, weights=w, density=True)[0] for v, w in zip(values, weights, strict=True)]
        ax.stairs(shares[0], edges, baseline=None, color=ORANGE, lw=1.3, label="frames")
        ax.stairs(shares[1], edges, baseline=None, color=BLUE, lw=1.3, label="atoms placed around their beads")
        ax.set_ylim(bottom=0)
        ax.set_ylabel("density")
        name_axis(ax.xaxis, label(function), unit)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    return fig
