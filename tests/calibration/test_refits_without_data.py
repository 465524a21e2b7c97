"""Intervals from refits of a model without frames hold the truth as often as they say; half as wide, they do not."""

import numpy as np
import pytest

import bayescg as bcg
from bayescg.models import EmbeddedPhysics

pytestmark = pytest.mark.slow

REPLICATES = 60


@pytest.fixture(scope="module")
def intervals() -> np.ndarray:
    """Of the free energy between equal wells, exactly 0: middle, half width and mean over sd of each replicate.

    Every replicate trains six refits anew, too shortly for its weights to be even: Pareto k is about 0.3.
    """
    found = []
    for seed in range(REPLICATES):
        model = EmbeddedPhysics(bcg.systems.QuarticDoubleWell(2), hidden=(8,), components=4)
        fit = bcg.fit(
            model, steps=120, batch_size=64, learning_rate=1e-2, uncertainty="ensemble", members=6, compile="trace",
            seed=3000 + seed,
        )  # fmt: skip
        frames = bcg.analysis.reweighted(fit, 6000, seed=seed)
        fes = bcg.analysis.free_energy(fit, frames, cv=lambda x: x[:, 0], draws=400)
        one = fes.difference((-10, 0), (0, 10))
        assert one.ci90 is not None
        low, high = one.ci90
        found.append(((low + high) / 2, (high - low) / 2, one.mean / one.sd))
    return np.array(found)


@pytest.mark.parametrize("shrunk", [1.0, 0.5], ids=["as they are", "half as wide: must fail"])
def test_intervals_cover(intervals: np.ndarray, shrunk: float) -> None:
    middle, half, _ = intervals.T
    held = int((np.abs(middle) < shrunk * half).sum())
    covers = 47 <= held <= 59  # a right interval leaves this less than once in a hundred times
    assert covers == (shrunk == 1.0), held


def test_estimates_are_not_biased(intervals: np.ndarray) -> None:
    """By at most 0.3 standard deviations, and three standard errors of that."""
    assert abs(intervals[:, 2].mean()) < 0.3 + 3 * intervals[:, 2].std() / REPLICATES**0.5
