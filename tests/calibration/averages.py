"""Averages over correlated frames."""

from functools import partial

import numpy as np

from bayescg.analysis import Quantity, average
from bayescg.experiments import Row
from tests.calibration.comparisons import frames_of


def averages(seed: int, kept: float, count: int) -> dict[str, Quantity]:
    """Of the position of an autoregressive process and of its square."""
    frames = frames_of(seed, kept, count)
    x = np.asarray(frames.positions)[:, 0]
    return {name: average(values, frames, 400, seed, "") for name, values in (("position", x), ("square", x**2))}


def truth() -> dict[str, float]:
    return {"position": 0.0, "square": 1.0}


def position() -> dict[str, float]:
    return {"position": 0.0}


def square() -> dict[str, float]:
    return {"square": 1.0}


ROWS = [
    *(
        Row(
            f"averages-{count}-frames-memory-{kept:g}",
            f"averages over {count} frames, worth {round(count * (1 - kept) / (1 + kept))} (squares: more)",
            partial(averages, kept=kept, count=count),
            truth,
        )
        for kept, count in ((0.0, 200), (0.5, 600), (0.9, 2000))
    ),
    Row("average-worth-20", "average over 2000 frames, worth 20", partial(averages, kept=0.98, count=2000), position),
    Row(
        "average-of-squares-worth-40",
        "average of squares over 2000 frames, worth 40",
        partial(averages, kept=0.98, count=2000),
        square,
        expect="no claim",
    ),
]
