"""Figure of what one fit says of many temperatures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayescg.errors import ConfigError
from bayescg.plot.style import COLOURS, INK, figure
from bayescg.plot.subjects import figure_by_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayescg.analysis import Quantity

__all__ = ["temperatures"]


@figure_by_name("quantities, such as finding.quantities of the question other_temperatures, by name")
def temperatures(quantities: Mapping[str, Quantity], reference: Mapping[str, float] | None = None) -> Figure:
    """Populations, and the heat capacity, by temperature, with 90 % intervals.

    Parameters
    ----------
    quantities : dict of str to Quantity
        By names that end in the temperature, ``"population_alpha_400K"`` or ``"heat_capacity_1.5kT"``.
    reference : dict of str to float, optional
        Known values by the same names, drawn as crosses.

    Raises
    ------
    ConfigError
        A name does not end in a temperature.

    Examples
    --------
    >>> from bayescg.analysis import Quantity
    >>> draws = np.random.default_rng(0).normal(0.3, 0.01, 100)
    >>> len(temperatures({f"population_alpha_{t}K": Quantity.of(draws, "") for t in (300, 400)}).axes)
    2
    """
    by_name: dict[str, list[tuple[float, str]]] = {}
    unit = "K"
    for key in quantities:
        if (parts := re.fullmatch(r"(.*)_([\d.]+)(K|kT)", key)) is None:
            raise ConfigError(f"{key!r} has no temperature at its end, as population_alpha_400K has")
        name, number, unit = parts.groups()
        by_name.setdefault(name, []).append((float(number), key))
    fig, axes = figure(1, 2, 3.6, 2.9)
    for k, (name, entries) in enumerate(by_name.items()):
        ax, colour = axes[name == "heat_capacity"], COLOURS[k % len(COLOURS)]
        x, keys = np.array([number for number, _ in entries]), [key for _, key in entries]
        mean = np.array([quantities[key].mean for key in keys])
        ends = np.array([quantities[key].ci90 or (np.nan, np.nan) for key in keys])
        away = np.abs(np.nan_to_num(ends - mean[:, None])).T
        words = name.removeprefix("population_").replace("_", " ")
        ax.errorbar(x, mean, away, fmt="o-", ms=3.5, lw=1.2, capsize=2, color=colour, label=words)
        crosses = [(t, reference[key]) for t, key in entries if reference and key in reference]
        if crosses:
            ax.plot(*np.transpose(crosses), "x", ms=7, color=INK, label=None, zorder=3)
    axes[0].set(ylabel="population", yscale="log")
    axes[0].legend(frameon=False, fontsize=8)
    axes[1].set_ylabel(f"heat capacity ({'kJ/mol/K' if unit == 'K' else 'k'})")
    for ax in axes:
        ax.set_xlabel("temperature (K)" if unit == "K" else "kT")
    return fig
