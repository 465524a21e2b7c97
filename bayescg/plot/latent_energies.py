"""Figures of the potential of coarse variables that a model has found for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.plot.style import BLUE, ORANGE, figure, name_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["latent_energies"]

_HIGHEST = 8.0


def latent_energies(
    axis: np.ndarray, energies: np.ndarray, of_frames: np.ndarray | None = None, level: float = 0.9
) -> Figure:
    """-log p(X) of one coarse variable, the median of the draws and their band, or of two mean and standard deviation.

    Parameters
    ----------
    axis : ndarray, shape (nodes,)
        Values of each variable.
    energies : ndarray, shape (draws, nodes) or (draws, nodes, nodes)
        In kT; one draw has no band.
    of_frames : ndarray, shape (nodes,), optional
        -log of the density of the variable over the frames, beside the one variable's.
    level : float
        Of the band.

    Examples
    --------
    >>> axis = np.linspace(-2, 2, 50)
    >>> len(latent_energies(axis, axis**4 - 2 * axis**2 + np.linspace(0, 1, 10)[:, None]).axes)
    1
    """
    mean = energies.mean(0)
    top = mean.min() + _HIGHEST
    if mean.ndim == 2:
        fig, axes = figure(1, 2, 4.2, 3.4)
        inside = mean < top
        for ax, values, words in zip(axes, (mean, energies.std(0)), ("-log p(X) (kT)", "its sd (kT)"), strict=True):
            mesh = ax.pcolormesh(axis, axis, np.where(inside, values, np.nan).T, cmap="cividis", shading="nearest")
            fig.colorbar(mesh, ax=ax, label=words)
            name_axis(ax.xaxis, "X1", "")
            name_axis(ax.yaxis, "X2", "")
            for limits, along in ((ax.set_xlim, inside.any(1)), (ax.set_ylim, inside.any(0))):
                limits(axis[along][0], axis[along][-1])
        return fig
    fig, (ax,) = figure(1, 1, 4.6, 3.2)
    median = np.median(energies, 0)  # the mean of logarithms lies above what draws have in common
    top = median.min() + _HIGHEST
    if len(energies) > 1:
        low, high = np.quantile(energies, [(1 - level) / 2, (1 + level) / 2], axis=0)
        ax.fill_between(axis, low, high, color=BLUE, alpha=0.3, lw=0, label=f"{100 * level:.0f} % band")
    ax.plot(axis, median, color=BLUE, lw=1.4, label="potential, median" if len(energies) > 1 else "potential")
    if of_frames is not None:
        ax.plot(axis, of_frames, color=ORANGE, lw=1.1, ls="--", label="over the frames")
    visited = axis[median < top]
    ax.set_xlim(visited[0], visited[-1])
    ax.set_ylim(median.min() - 0.5, top)
    name_axis(ax.xaxis, "X", "")
    ax.set_ylabel("-log p(X) (kT)")
    ax.legend(frameon=False, fontsize=9)
    return fig
