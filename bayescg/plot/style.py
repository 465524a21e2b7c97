"""What all figures share: size, colours, axes without clutter, and names with units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE", "COLOURS", "GREY", "INK", "ORANGE", "PALE", "Histogram", "axis_label", "band", "colour_bar", "figure",
    "in_degrees", "intervals", "name_axis", "panel", "stair_band",
]  # fmt: skip

Histogram = tuple[np.ndarray, np.ndarray]
"""Edges of bins, and their shares."""

BLUE, ORANGE, INK, GREY, PALE = "#0072B2", "#D55E00", "#222222", "#9a9a9a", "#d9d9d9"
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00")

_WORDS = {
    "rg": "radius of gyration", "rg_mass": "radius of gyration", "rmsd": "RMSD", "end_to_end": "end-to-end distance",
    "phi": "φ", "psi": "ψ", "omega": "ω",
}  # fmt: skip


def figure(rows: int, columns: int, width: float = 3.4, height: float = 2.7) -> tuple[Figure, list[Axes]]:
    """Figure of ``rows x columns`` panels, each `width` by `height` inches, and its axes in reading order."""
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width * columns, height * rows), dpi=150, layout="constrained")
    fig.set_facecolor("white")
    size = 9 if width < 3.2 else 10
    return fig, [panel(ax, size) for ax in np.ravel(fig.subplots(rows, columns, squeeze=False))]


def panel(ax: Axes, size: int = 10) -> Axes:
    """Axes with left and bottom lines only, and labels of a size."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(labelsize=9, colors=INK, width=0.8)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_fontsize(size)
    return ax


def axis_label(name: str, unit: str = "") -> str:
    """Name of an observable in words, with its unit; angles are drawn in degrees.

    Examples
    --------
    >>> axis_label("rg", "nm"), axis_label("phi ALA-2", "rad"), axis_label("CV 1")
    ('radius of gyration (nm)', 'φ ALA-2 (°)', 'CV 1')
    """
    first, _, rest = name.partition(" ")
    words = " ".join(part for part in (_WORDS.get(first, first), rest) if part)
    return f"{words} ({'°' if unit == 'rad' else unit})" if unit else words


def in_degrees(values: Any, unit: str) -> Any:
    """Values as they are drawn: degrees where `unit` is ``"rad"``."""
    return np.rad2deg(values) if unit == "rad" else values


def name_axis(axis: Any, name: str, unit: str = "") -> None:
    """Label with unit; an angle has ticks every 90 degrees."""
    axis.set_label_text(axis_label(name, unit))
    if unit == "rad":
        axis.set_ticks(np.arange(-180, 181, 90))


def band(ax: Axes, x: np.ndarray, ends: Any, colour: str, label: str | None = None) -> None:
    """Band between the low and the high end at every x."""
    ax.fill_between(x, *ends, color=colour, alpha=0.25, lw=0, label=label)


def stair_band(ax: Axes, edges: np.ndarray, ends: Any, alpha: float, label: str) -> None:
    """Band between the low and the high end of every bin."""
    low, high = ends
    ax.stairs(high, edges, baseline=low, fill=True, color=BLUE, alpha=alpha, lw=0, label=label)


def intervals(ax: Axes, x: np.ndarray, middle: np.ndarray, ends: Any, colour: str, label: str, **rest: Any) -> None:
    """Points, each with an interval from its low to its high end."""
    low, high = ends
    ax.errorbar(x, middle, [middle - low, high - middle], fmt="o", color=colour, label=label, **rest)


def colour_bar(values: Any, ax: Axes, text: str, **rest: Any) -> None:
    """What the colours of a panel mean, in letters of the size of its labels."""
    size = ax.xaxis.label.get_fontsize()
    bar = ax.figure.colorbar(values, ax=ax, pad=0.02, **rest)
    bar.set_label(text, fontsize=size)
    bar.ax.tick_params(labelsize=float(size) - 1)
    bar.outline.set_visible(False)  # type: ignore[operator]
