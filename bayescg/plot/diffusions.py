"""Figures of effective dynamics: free energy and diffusion along a variable, with their bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.draws import interval
from bayescg.plot.style import BLUE, GREY, axis_label, band, figure
from bayescg.plot.subjects import figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import DiffusionDraws

__all__ = ["effective_dynamics"]

_HIGHEST = 15.0


@figure_of("bayescg.analysis.effective_dynamics")
def effective_dynamics(found: DiffusionDraws, level: float = 0.9, name: str = "z") -> Figure:
    """Free energy and diffusion along a variable; grey where the diffusion is the prior's more than the data's.

    Parameters
    ----------
    found : DiffusionDraws
        Of :func:`bayescg.analysis.effective_dynamics`.
    level : float
        Of the bands.
    name : str
        Of the variable.
    """
    fig, (left, right) = figure(1, 2)
    z, energy = found.free_energy["z"].values, found.free_energy.values
    border, diffusion = found.diffusion["border"].values, found.diffusion.values
    band(left, z, interval(energy, level), BLUE, f"{level:.0%} band")
    left.plot(z, energy.mean(0), color=BLUE, lw=1.5)
    left.set(ylabel="free energy (kT)", ylim=(-0.5, min(_HIGHEST, 1.1 * float(energy.mean(0).max()))))
    middle, ends = np.exp(np.log(diffusion).mean(0)), interval(diffusion, level)
    for part, colour, label in (
        (found.told.values, BLUE, "told by the data"),
        (~found.told.values, GREY, "the prior's"),
    ):
        if part.any():
            at = np.where(part, 1.0, np.nan)
            band(right, border, ends * at, colour)
            right.plot(border, middle * at, color=colour, lw=1.5, label=label)
    unit = f"{found.unit}" if found.unit else "time"
    right.set(ylabel=f"diffusion ({name}² / {unit})", yscale="log")
    for ax in (left, right):
        ax.set(xlabel=axis_label(name), xlim=(z[0], z[-1]))
        ax.legend(frameon=False, fontsize=9)
    return fig
