"""The partition function of refits, and draws beside a region."""

from dataclasses import replace

import numpy as np
import pytest

from bayescg.analysis import free_energy
from bayescg.analysis.free_energy.estimate import FreeEnergy
from bayescg.data import Frames
from bayescg.experiments.known import Coordinate
from bayescg.experiments.refits import effective_outside, log_partition
from tests.refitted import two_wells


def refitted(lost: tuple[int, ...], share: float) -> tuple[Frames, dict[str, FreeEnergy]]:
    """Two wells, of which some refits never visit the right one."""
    frames = two_wells(lost, share)
    return frames, {"x1": free_energy(None, frames, cv=Coordinate("x1"), bins=20, draws=20)}


def test_the_partition_function_of_an_ensemble_has_the_error_of_its_spread() -> None:
    frames, _ = refitted((1,), 0.1)
    values = np.array(frames.provenance["log_z"])
    found = log_partition(frames, 20_000, 0)
    assert found.mean == pytest.approx(values.mean(), abs=0.003)
    sampling, parameter = found.sd_by_source["sampling"], found.sd_by_source["parameter"]
    assert sampling is not None
    assert parameter is not None
    assert np.hypot(sampling, parameter) == pytest.approx(values.std(ddof=1) / 5**0.5)
    assert found.ci90 is not None
    low, high = found.ci90  # Student's t with four degrees of freedom
    assert (high - low) / 2 == pytest.approx(2.132 * values.std(ddof=1) / 5**0.5, rel=0.1)


def test_draws_beside_a_region_are_counted_by_their_weights() -> None:
    frames, landscapes = refitted((), 0.1)
    right = int((np.asarray(frames.positions)[:, 0] >= 0).sum())
    assert effective_outside(landscapes["x1"], [-10.0, 0.0]) == pytest.approx(right)
    assert effective_outside(landscapes["x1"], [-10.0, 10.0]) == 0.0
    weights = np.random.default_rng(1).uniform(0.5, 1.5, len(frames))
    first = int(np.flatnonzero(np.asarray(frames.positions)[:, 0] >= 0)[0])
    weights[first] = 1e6  # one of them outweighs all others
    weighted = free_energy(None, replace(frames, weights=weights), cv=Coordinate("x1"), bins=20, draws=20)
    assert effective_outside(weighted, [-10.0, 0.0]) == pytest.approx(1.0, abs=0.01)
