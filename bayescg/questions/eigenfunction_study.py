"""What a study concludes from CVs beside the exact eigenfunction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bayescg.questions.studies import apart, in_words, plus_minus

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ERRORS", "conclusions"]

ERRORS = ("reconstruction", "coarse_reconstruction")


def conclusions(table: xr.Dataset, order: Sequence[str] = ()) -> list[str]:
    """What the table says, in sentences.

    One method is above another where a one-sided t-test of their differences over the data sets says so at 95 %.

    Parameters
    ----------
    table : Dataset
        What :func:`bayescg.questions.exact_eigenfunction.measure` found, (model, replicate), with ``score``.
    order : sequence of str
        Methods that are expected to fall behind all others in R², the worst first.
    """
    from bayescg.draws import interval

    names = [str(n) for n in table["model"].values]
    r2 = {n: table["r2"].sel(model=n).values for n in names}
    all_r2 = ", ".join(f"{in_words(n)} {plus_minus(r2[n])}" for n in names)
    sentences = [f"R² of the CV with the exact eigenfunction: {all_r2}."]
    for k, name in enumerate(order):
        others = order[k + 1 : k + 2] or [n for n in names if n not in order and n != "tica"]
        for other in others:
            sentences.append(_verdict(name, other, r2[name], r2[other]))
    for quantity, how in zip(ERRORS, ("known exactly", "known to a fortieth of its range"), strict=True):
        error = {n: table[quantity].sel(model=n).values for n in names}
        best = min(names, key=lambda n: error[n].mean())
        tied = [n for n in names if n != best and apart(error[best], error[n])[2] != "above"]
        close = f", not told apart from {', '.join(map(in_words, tied))}" if tied else ""
        sentences.append(
            f"Of a CV that is {how}, the coordinates are best rebuilt from that of {in_words(best)} (error "
            f"{plus_minus(error[best])}){close}."
        )
    exact = table.attrs["timescale"]
    for n in names:
        draws, cv_times = table["timescale"].sel(model=n).values, table["cv_timescale"].sel(model=n).values.mean(1)
        low, high = interval(draws.T, 0.9)
        held = int(((low <= exact) & (exact <= high)).sum())
        sentences.append(
            f"{in_words(n)}: the timescale of the CV itself is {plus_minus(cv_times)}, the slowest in functions of it "
            f"{plus_minus(draws.mean(1))}; the exact {exact:.1f} is inside {held} of {len(draws)} intervals of 90 % of "
            "the latter."
        )
    score = {n: table["score"].sel(model=n).values.mean(-1) for n in names}
    best = max(names, key=lambda n: score[n].mean())
    below = [n for n in names if apart(score[n], score[best])[2] == "above"]
    sentences.append(
        f"Held out, the CV of {in_words(best)} has the highest score ({plus_minus(score[best])})"
        + (f"; below it, at 95 %, are {', '.join(map(in_words, below))}." if below else "; none is below it at 95 %.")
    )
    return sentences


def _verdict(name: str, other: str, a: np.ndarray, b: np.ndarray) -> str:
    mean, se, where = apart(a, b)
    gap = f"{abs(mean):.2g} ± {se:.1g} in R²"
    if where == "above":
        return f"As expected, {in_words(name)} falls behind {in_words(other)}, by {gap}."
    if where == "below":
        return f"Against what was expected, {in_words(name)} is ahead of {in_words(other)}, by {gap}."
    return f"These data sets do not tell {in_words(name)} from {in_words(other)} ({gap})."
