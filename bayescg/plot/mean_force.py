"""Figures of a potential of mean force along one coordinate, and of the forces that taught it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.plot.style import BLUE, GREY, INK, axis_label, band, figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["mean_force"]


def mean_force(
    x: np.ndarray,
    energies: np.ndarray,
    forces: np.ndarray,
    frames: tuple[np.ndarray, np.ndarray],
    exact: tuple[np.ndarray, np.ndarray] | None = None,
    level: float = 0.9,
    name: str = "x",
) -> Figure:
    """Potential of mean force with its band, and mean force with its band over those of frames.

    Parameters
    ----------
    x : ndarray, (n,)
        Places along the coordinate.
    energies, forces : ndarray, (draws, n)
        Of draws of the potential, in kT and kT per length.
    frames : (ndarray, ndarray)
        Coordinates and forces of some frames.
    exact : (ndarray, ndarray), optional
        What `energies` and `forces` should be, each ``(n,)``.
    level : float
        Of the bands.
    name : str
        Of the coordinate.

    Returns
    -------
    Figure
    """
    fig, (left, right) = figure(1, 2)
    ends = [0.5 - level / 2, 0.5 + level / 2]
    # a potential has no zero: every draw is moved to where it deviates least from their mean at equilibrium
    middle = energies.mean(0)
    share = np.exp(middle.min() - middle)
    share /= share.sum()
    moved = energies - ((energies - middle) @ share)[:, None] - middle.min()
    for ax, values, truth in ((left, moved, exact and exact[0]), (right, forces, exact and exact[1])):
        if len(values) > 1:
            band(ax, x, np.quantile(values, ends, axis=0), BLUE, f"{level:.0%} band")
        ax.plot(x, values.mean(0), color=BLUE, lw=1.5, label="learned")
        if truth is not None:
            shift = (values.mean(0) - truth) @ share if ax is left else 0.0
            ax.plot(x, truth + shift, color=INK, lw=1.0, ls="--", label="exact")
    right.scatter(*frames, s=3, color=GREY, alpha=0.4, lw=0, zorder=0, label="frames")
    left.set(ylabel="potential of mean force (kT)")
    right.set(ylabel="mean force (kT per length)")
    for ax in (left, right):
        ax.set(xlabel=axis_label(name), xlim=(x[0], x[-1]))
    left.legend(frameon=False, fontsize=9)
    right.legend(frameon=False, fontsize=9)
    return fig
