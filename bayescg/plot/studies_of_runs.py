"""A figure of a study: a quantity against the settings of the runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayescg.plot.style import BLUE, GREY, INK, ORANGE, figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["study"]

_RESULTS = {"quantity", "unit", "mean", "sd", "low", "high", "truth", "warnings", "wall_seconds"}


def study(table: pd.DataFrame, quantity: str) -> Figure:
    """What each run says of a quantity, with its 90 % interval, side by side for each of the settings.

    Parameters
    ----------
    table : DataFrame
        That of :func:`bayescg.experiments.study`.
    quantity : str
        One of its column ``quantity``.

    Examples
    --------
    >>> import bayescg as bcg
    >>> settings = [{"seed": s, "width": w} for w in (0.1, 0.2) for s in range(3)]
    >>> found = bcg.experiments.study(settings, [{"height": s["width"]} for s in settings])
    >>> study(found.table, "height").axes[0].get_ylabel()
    'height'
    """
    rows = [row for row in table.to_dict("records") if row["quantity"] == quantity]
    keys = [str(key) for key in table.columns if key not in _RESULTS and key != "seed"]
    varying = [key for key in keys if len({str(row[key]) for row in rows}) > 1]
    labels = ["\n".join(str(row[key]) for key in varying) for row in rows]
    groups = list(dict.fromkeys(labels))
    fig, (ax,) = figure(1, 1, max(3.2, 0.6 * len(groups) + 1.4), 2.9)
    for place, name in enumerate(groups):
        part = [row for row, label in zip(rows, labels, strict=True) if label == name]
        mean, low, high, truth = (
            np.array([row[key] for row in part], float) for key in ("mean", "low", "high", "truth")
        )
        at = place + (np.linspace(-0.25, 0.25, len(part)) if len(part) > 1 else np.zeros(1))
        ax.vlines(at, low, high, color=BLUE, lw=1.2)
        ax.plot(at, mean, "o", ms=3.5, color=BLUE)
        if len(part) > 1 and np.isfinite(mean).any():
            ax.hlines(np.nanmean(mean), place - 0.32, place + 0.32, color=INK, lw=1.5)
        if np.isfinite(truth).any():
            ax.hlines(truth[np.isfinite(truth)][0], place - 0.42, place + 0.42, color=ORANGE, lw=1.2, ls="--")
    for place in range(len(groups) - 1):
        ax.axvline(place + 0.5, color=GREY, lw=0.4)
    ax.set_xticks(range(len(groups)), groups, fontsize=8)
    ax.set_xlim(-0.6, len(groups) - 0.4)
    ax.set_xlabel(", ".join(varying) if varying else "seeds")
    unit = next((row["unit"] for row in rows if row["unit"]), "")
    ax.set_ylabel(f"{quantity} ({unit})" if unit else quantity)
    return fig
