"""Temperatures that forces have over those of their frames."""

from functools import partial

from bayescg.analysis import Quantity, stein_check
from bayescg.experiments import Row
from tests.analysis.stein_chains import chain


def temperatures(seed: int, memory: float, frames: int) -> dict[str, Quantity]:
    """Of a bond, of beads two bonds apart, and of all pairs of four beads on springs."""
    check = stein_check(chain(seed, frames, memory))
    named = dict(zip(check.labels, check.temperature_ratio, strict=True))
    return {"bond": named["0, 1"], "two bonds": named["0, 2"], "all": check.overall}


def truth() -> dict[str, float]:
    return {"bond": 1.0, "two bonds": 1.0, "all": 1.0}


ROWS = [
    Row(
        f"force-temperatures-memory-{memory:g}",
        f"temperature ratio of {frames} forces and frames, memory {memory:g}",
        partial(temperatures, memory=memory, frames=frames),
        truth,
    )
    for memory, frames in ((0.0, 500), (0.9, 4000))
]
