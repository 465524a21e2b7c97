"""Slow modes, committors and free energies of trajectories that all begin in one well, with equilibrium weights."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import chapman_kolmogorov, committor, free_energy, spectrum
from bayescg.analysis.kinetics.balanced import covariances_of
from bayescg.errors import DataError

WELL = bcg.systems.QuarticDoubleWell()
RATE = 0.7487


def basis(x):
    return torch.tanh((x - torch.linspace(-1.7, 1.7, 14)) / 0.45)


@pytest.fixture(scope="module")
def left():
    """200 trajectories of 0.9 relaxation times, all begun in the left well."""
    starts = np.full((200, 1), -1.0)
    return bcg.sampling.overdamped(WELL, 600, dt=2e-3, chains=200, stride=10, starts=starts, seed=2, compile="off")


@pytest.fixture(scope="module")
def weighted(left):
    return left.equilibrium(basis, lag=0.1)


def test_the_slowest_mode_is_that_of_equilibrium(left, weighted):
    found = spectrum(basis, weighted, 0.1, modes=2, draws=200)
    assert not found.refused
    assert abs(found.mean.values[0] - RATE) < 3 * found.sd.values[0]
    raw = spectrum(basis, left, 0.1, modes=2, draws=200)
    assert raw.mean.values[0] - RATE > 4 * raw.sd.values[0]
    assert "frames.equilibrium(" in raw.refused[1]


def test_the_generator_takes_the_weights_too(weighted):
    found = spectrum(basis, weighted, modes=1, draws=200)
    assert abs(found.mean.values[0] - RATE) < 3 * found.sd.values[0]


def test_sums_are_those_of_weighted_pairs(weighted):
    """Beside plain sums over all pairs, with weights of trajectories that stand for copies of them."""
    of_blocks = np.random.default_rng(0).integers(0, 3, 200).astype(float)
    a, b, mean = (part[0] for part in covariances_of(basis, weighted, lag=0.1).mixed(of_blocks))
    koopman, x = weighted.koopman, torch.as_tensor(weighted.positions)
    u = basis(x).double().numpy()
    first = np.flatnonzero(koopman.begins)
    later = first + 5
    w = of_blocks[koopman.block[first]] * (
        koopman.values[first].astype(float) @ koopman.coefficients(of_blocks[None])[0]
    )
    w /= w.sum()
    shift = u[:512].mean(0)
    both = 0.5 * w @ (u[first] + u[later])
    second = 0.5 * ((u[first] * w[:, None]).T @ u[first] + (u[later] * w[:, None]).T @ u[later])
    change = u[later] - u[first]
    assert np.allclose(mean + shift, both, atol=1e-6)
    assert np.allclose(b, second - np.outer(both, both), atol=1e-6)
    assert np.allclose(a, 0.5 * (change * w[:, None]).T @ change, atol=1e-6)


def test_committors_and_free_energies_are_symmetric(weighted):
    sets = (lambda x: x[:, 0] < -0.9), (lambda x: x[:, 0] > 0.9)
    q = committor(basis, weighted, *sets, draws=200)
    middle = q.summary([[0.0]])
    assert abs(middle["mean"][0] - 0.5) < 3 * middle["sd"][0]
    fes = free_energy(None, weighted, cv=lambda x: x[:, 0], bins=20)
    difference = fes.difference((-2.0, 0.0), (0.0, 2.0))
    assert abs(difference.mean) < 3 * difference.sd
    assert not any("begin at equilibrium" in w for w in fes.warnings)


def test_weights_are_made_again_for_longer_lags(weighted):
    test = chapman_kolmogorov(basis, weighted, 0.1, multiples=(1, 2), modes=1, draws=100)
    assert not test.outside.any()
    with pytest.raises(DataError, match="0 of 200 trajectories are longer than the lag"):
        spectrum(basis, weighted, 2.0, modes=1, draws=50)


def test_wells_without_a_way_back_are_refused(left):
    early = left.first(0.12)  # in which few have crossed, and none has come back
    with pytest.raises(DataError, match="how probable frames are at equilibrium"):
        early.equilibrium(basis, lag=0.04)


@pytest.mark.slow
def test_time_grows_with_the_frames_and_memory_does_not():
    """Ten times the frames: at most fifteen times the time."""
    import time

    seconds = []
    for length in (5_000, 50_000):
        frames = bcg.sampling.overdamped(WELL, length, dt=0.02, chains=20, seed=0, compile="off")
        begin = time.process_time()
        spectrum(basis, frames.equilibrium(basis, lag=0.2), 0.2, modes=1, draws=50)
        seconds.append(time.process_time() - begin)
    assert seconds[1] < 15 * seconds[0]
