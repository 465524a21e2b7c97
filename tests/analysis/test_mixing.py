"""Mixing along a ladder: replicas that never crossed are flagged, whatever all else looks like."""

from dataclasses import replace

import numpy as np
import pytest

from bayescg.analysis import mixing
from bayescg.data import Bias, Frames, apart, overlap, round_trips
from bayescg.errors import DataError
from bayescg.sampling import umbrella
from bayescg.systems import from_function


def channels(barrier):
    """Two channels y = -1 and 1 under a CV x that leans towards one of them on either side; symmetric."""
    return from_function(lambda x: barrier * (x[:, 1] ** 2 - 1) ** 2 + 0.5 * (x[:, 0] - 2 * x[:, 1]) ** 2, dim=2)


SIDES = np.concatenate([np.linspace([-3.0, -1.0], [0.0, -1.0], 100), np.linspace([0.1, 1.0], [3.0, 1.0], 100)])


def run(barrier, every, steps=1500):
    return umbrella(
        channels(barrier), lambda x: x[:, 0], steps, dt=0.01, starts=SIDES, windows=6, walkers=12, exchange_every=every,
        stride=50, seed=0, compile="trace",
    )  # fmt: skip


@pytest.mark.slow  # by default: the exact windows of test_biased.py mix
def test_replicas_that_walk_are_mixed():
    mixed = mixing(run(2.0, 5, steps=6000))
    assert mixed.mixed
    assert mixed.reason.startswith("the replicas mixed")
    assert mixed.columns == 12
    assert mixed.round_trips >= 24
    assert mixed.acceptance is not None
    assert mixed.acceptance.min() > 0.3
    assert mixed.overlap.min() > 0.1
    assert np.abs(np.diff(mixed.halves, axis=0)).max() < 0.5


@pytest.mark.parametrize(("barrier", "every"), [(16.0, 5), (2.0, None)], ids=["hidden barrier", "no exchange"])
def test_replicas_that_stay_on_their_side_are_flagged(barrier, every):
    stuck = mixing(run(barrier, every))
    assert not stuck.mixed
    assert "did not mix along the ladder" in stuck.reason
    assert stuck.born_high[0] < 0.1
    assert stuck.born_high[-1] > 0.9
    # what does not betray it
    assert stuck.overlap.min() > 0.1
    assert np.abs(np.diff(stuck.halves, axis=0)).max() < 0.5


def test_replicas_that_hardly_cross_are_flagged_though_windows_look_mixed():
    early = mixing(run(2.0, 5))
    assert not early.mixed
    assert early.reason.startswith("replicas made fewer than 2 round trips for each of 12 columns")
    assert early.round_trips > 0
    assert 0.1 < early.born_high[0] < early.born_high[-1] < 0.9


def test_windows_that_do_not_overlap_are_flagged():
    rng = np.random.default_rng(0)
    window = np.repeat([0, 1, 2], 400)
    s = rng.normal(np.array([0.0, 1.0, 7.0])[window])
    bias = Bias(window, 0.5 * (s[:, None] - [0.0, 1.0, 7.0]) ** 2, np.zeros(1200, int), np.array([2]))
    frames = Frames.from_numpy(s[:, None], unit="reduced", temperature_kT=1.0, bias=bias)
    assert "windows 1 and 2 hardly overlap" in mixing(frames).reason


def test_frames_without_windows_are_refused():
    with pytest.raises(DataError, match="have no bias"):
        mixing(Frames.from_numpy(np.zeros((4, 1)), unit="reduced", temperature_kT=1.0))


def test_subsets_and_frames_that_do_not_say_where_replicas_began():
    frames = run(2.0, None)
    assert frames.bias is not None
    untold = replace(frames, bias=replace(frames.bias, born=None))
    assert np.array_equal(mixing(untold).born_high, mixing(frames).born_high)
    assert mixing(frames[: len(frames) // 2]).born_high.tolist() == [0, 0, 0, 1, 1, 1]


def test_overlap_of_gaussians_is_exact():
    """Two windows of equal width d apart: the integral of p q / (p + q), by quadrature."""
    x = np.linspace(-12, 15, 20_001)
    p, q = np.exp(-0.5 * x**2), np.exp(-0.5 * (x - 3) ** 2)
    exact = (p * q / (p + q)).sum() / p.sum()
    rng = np.random.default_rng(1)
    window = np.repeat([0, 1], 50_000)
    s = rng.normal(3.0 * window)
    bias = Bias(window, 0.5 * (s[:, None] - [0.0, 3.0]) ** 2)
    frames = Frames.from_numpy(s[:, None], unit="reduced", bias=bias)
    assert frames.weights is not None
    assert overlap(bias, frames.weights)[0, 1] == pytest.approx(exact, abs=0.002)
    assert overlap(bias, frames.weights).sum(1) == pytest.approx(1.0)
    assert apart(bias) == []


def test_round_trips_are_counted_for_each_replica():
    window = np.array([0, 2, 0, 2, 1, 2, 0, 0])
    assert round_trips(window, np.zeros(8, int), 3) == 2
    assert round_trips(window, np.array([0, 1, 0, 1, 0, 1, 0, 1]), 3) == 0
