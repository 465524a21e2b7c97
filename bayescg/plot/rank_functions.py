"""A figure of ranks: whether truths lie among draws of the posterior as draws do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayescg.draws import ecdf_band
from bayescg.plot.style import BLUE, GREY, INK, ORANGE, figure
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import Simulated

__all__ = ["ranks"]

_LEVEL = 0.99


@figure_of("bayescg.analysis.simulated_truth")
def ranks(simulated: Simulated) -> Figure:
    """Distribution functions of ranks less the diagonal, with the band that uniform ones leave once in a hundred times.

    A hump at the left and a dip at the right are intervals that are too narrow, the reverse those that are too wide; a
    hump or dip alone is bias. Orange: draws that claim too much, the control.

    Parameters
    ----------
    simulated : Simulated
        Of :func:`bayescg.analysis.simulated_truth`.

    References
    ----------
    T. Säilynoja, P.-C. Bürkner, A. Vehtari, Stat. Comput. 32, 32 (2022).
    """
    level = 1 - (1 - _LEVEL) / len(simulated.ranks)
    fig, panels = figure(1, len(simulated.ranks), 2.9, 2.5)
    for ax, (name, u) in zip(panels, simulated.ranks.items(), strict=True):
        at, ecdf, low, high = ecdf_band(u, level)
        ax.fill_between(at, low - at, high - at, color=GREY, alpha=0.3, lw=0, step="post")
        ax.step(at, ecdf - at, where="post", color=BLUE, label="draws")
        at, ecdf, *_ = ecdf_band(simulated.control[name], level)
        ax.step(at, ecdf - at, where="post", color=ORANGE, lw=1, label="half as wide")
        ax.axhline(0.0, color=INK, lw=0.6)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("rank of the truth")
    panels[0].set_ylabel("distribution function less uniform")
    panels[0].legend(frameon=False, fontsize=8, loc="upper right")
    return fig
