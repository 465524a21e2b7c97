"""What all figures share: size, colours, axes without clutter, and names with units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "ORANGE",
    "Histogram",
    "axis_label",
    "figure",
    "in_degrees",
    "panel",
    "set_angle_ticks",
]

Histogram = tuple[np.ndarray, np.ndarray]
"""Edges of bins, and their shares."""

BLUE, ORANGE, INK, GREY = "#0072B2", "#D55E00", "#222222", "#9a9a9a"

_WORDS = {
    "rg": "radius of gyration", "rg_mass": "radius of gyration", "rmsd": "RMSD", "end_to_end": "end-to-end distance",
    "phi": "φ", "psi": "ψ", "omega": "ω",
}  # fmt: skip


def figure(rows: int, columns: int, width: float = 3.4, height: float = 2.7) -> tuple[Figure, list[Axes]]:
    """Figure of ``rows x columns`` panels, each `width` by `height` inches, and its axes in reading order."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width * columns, height * rows), dpi=150, layout="constrained")
    made.set_facecolor("white")
    return made, [panel(ax) for ax in np.ravel(made.subplots(rows, columns, squeeze=False))]


def panel(ax: Axes) -> Axes:
    """Axes with left and bottom lines only."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(labelsize=9, colors=INK, width=0.8)
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


def set_angle_ticks(axis: Any) -> None:
    """Ticks every 90 degrees."""
    axis.set_ticks(np.arange(-180, 181, 90))
