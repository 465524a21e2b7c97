"""What the data cannot say is told: modes lost in the noise, too few relaxations, too few blocks."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import spectrum
from bayescg.data import Frames


def powers(x):
    return torch.cat([x, x**2, x**3], 1)


def frames_of(x, dt):
    return Frames.from_numpy(np.asarray(x, dtype=float).reshape(-1, 1), unit="reduced", dt=dt, temperature_kT=1.0)


@pytest.fixture(scope="module")
def springs():
    """Twenty trajectories (20, 8000) of the Ornstein-Uhlenbeck process with eigenvalues 2, 4, 6; frames 0.05 apart."""
    rng = np.random.default_rng(61)
    decay = np.exp(-2 * 0.05)
    x, out = rng.normal(size=20) * np.sqrt(0.5), []
    for _ in range(8000):
        x = decay * x + np.sqrt((1 - decay**2) / 2) * rng.normal(size=20)
        out.append(x)
    return np.stack(out, 1)


@pytest.mark.parametrize(
    ("lag", "least", "most"), [(0.1, 0, 0), pytest.param(1.0, 0, 2, marks=pytest.mark.slow), (5.0, 16, 20)]
)
def test_a_mode_is_unresolved_where_its_correlation_is_no_more_than_noise(springs, lag, least, most):
    # the correlation at lag 1 is 3.8 standard deviations; noise is taken for a mode in one of 20 trajectories, and in
    # five or more with a probability of 0.3 %
    found = [spectrum(powers, frames_of(x, 0.05), lag=lag, modes=1, draws=20) for x in springs]
    lost = [one for one in found if "decays" in one.refused.get(1, "")]
    assert least <= len(lost) <= most
    if least:  # noise that passes may be as fast as can be
        passed = [one.quantities["timescale_1"].ci90 for one in found if not one.refused]
        assert all(bounds is not None and bounds[0] < 0.1 * lag for bounds in passed)
    for one in lost:
        assert np.isnan(one.ci90).all()
        assert one.quantities["timescale_1"].ci90 is None
        assert "no interval" in repr(one)
        assert len(one.warnings) == 1
        assert f"mode 1 decays within the lag {lag:g}" in one.warnings[0]


def test_fast_modes_are_unresolved_where_slow_ones_are_not(springs):
    found = [spectrum(powers, frames_of(x, 0.05), lag=0.8, modes=3, draws=20) for x in springs[:5]]
    assert all(1 not in one.refused for one in found)
    assert all(3 in one.refused for one in found)  # exp(-4.8), and noise would have to reach both of modes 2 and 3
    assert not any(mode in group for one in found for group in one.degenerate for mode in [2])
    assert all((np.diff(one.mean.values) >= 0).all() for one in found)


@pytest.mark.parametrize("lag", [None, 0.1])
def test_a_second_mode_on_rare_frames_needs_many_relaxations(springs, lag):
    """Of a spring at 80 relaxations of the first mode it would hold the truth three times in four."""
    short = [spectrum(powers, frames_of(x[:800], 0.05), lag, modes=2, draws=20) for x in springs]
    assert sum(2 in one.refused for one in short) >= 19
    assert sum("mode 2 relaxes about" in w for one in short for w in one.warnings) >= 1
    assert all(not spectrum(powers, frames_of(x, 0.05), lag, modes=2, draws=20).refused for x in springs[:5])


def two_wells(rate, n=400, runs=20):
    """Runs that begin in either well and seldom leave it: -1 and 1 with noise, of relaxation rate `rate` a frame."""
    rng = np.random.default_rng(4)
    switch = np.where(rng.random((runs, n)) < rate / 2, -1.0, 1.0)
    side = np.where(np.arange(runs) % 2, 1.0, -1.0)[:, None] * np.cumprod(switch, 1)
    return (side + 0.2 * rng.normal(size=(runs, n))).ravel(), np.repeat(np.arange(runs), n)


@pytest.mark.parametrize(("rate", "few"), [(0.0, True), (0.0003, True), (0.02, False)])
def test_few_relaxations_are_told_and_many_are_not(rate, few):
    x, trajectory = two_wells(rate)
    frames = Frames.from_numpy(x[:, None], unit="reduced", dt=0.1, trajectory=trajectory)
    modes = spectrum(lambda x: torch.tanh(3 * x), frames, lag=0.5, modes=1, draws=50)
    assert any("relaxations of the slowest mode for mode 1, fewer than the 40" in w for w in modes.warnings) is few
    assert (modes.quantities["timescale_1"].ci90 is None) is few


def test_three_frames_are_told_to_be_few():
    told = spectrum(powers, frames_of([0.0, 1.0, 2.0], 0.05), modes=1, draws=50).warnings
    assert any("only 3 blocks" in one for one in told)
    assert any("relaxations of the slowest mode for mode 1" in one for one in told)


def test_a_mode_that_was_not_asked_for_is_not_named():
    plane = bcg.sampling.overdamped(bcg.systems.Harmonic((1.0, 1.0)), 2000, dt=0.02, chains=20, stride=10, seed=3)
    (one,) = spectrum(lambda x: torch.cat([x, x**2], 1), plane, modes=1, draws=50).warnings
    assert one.startswith("mode 1 cannot be told apart from the next")
    assert one.endswith("ask for modes=2")
    (two,) = spectrum(lambda x: torch.cat([x, x**2], 1), plane, modes=2, draws=50).warnings
    assert two.startswith("modes 1, 2 cannot be told apart: ")
    assert "intervals of single eigenvalues are rough" in two
