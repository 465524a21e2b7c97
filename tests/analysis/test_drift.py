"""Trajectories that do not begin at equilibrium are noticed, those that do one time in twenty."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import committor, spectrum
from bayescg.analysis.drift import drifts
from bayescg.data import Frames

WELL = bcg.systems.QuarticDoubleWell()  # its slowest eigenvalue is 0.7487


def basis(x):
    return torch.tanh((x - torch.linspace(-1.7, 1.7, 14)) / 0.45)


def short(starts, seed=0):
    """200 trajectories of a third of a relaxation time each, from equilibrium or from the left well."""
    return bcg.sampling.overdamped(WELL, 220, dt=2e-3, chains=200, stride=10, starts=starts, seed=seed, compile="off")


@pytest.fixture(scope="module")
def equilibrium():
    return torch.as_tensor(bcg.sampling.equilibrium(WELL, 40_000, seed=3).positions)


@pytest.mark.parametrize("lag", [None, 0.1])
def test_trajectories_from_one_well_have_no_interval(lag, equilibrium):
    left = spectrum(basis, short(equilibrium[equilibrium[:, 0] < -0.7][:200]), lag, modes=2, draws=50)
    assert left.mean.values[0] > 1.5 * 0.7487
    assert set(left.refused) == {1, 2}
    assert "do not begin at equilibrium" in str(left.quantities["timescale_1"].warning)
    assert sum("do not begin at equilibrium" in w for w in left.warnings) == 1
    both = spectrum(basis, short(equilibrium[:200]), lag, modes=2, draws=50)
    assert not both.refused
    low, high = both.ci90.values[:, 0]
    assert low < 0.7487 < high


def test_a_committor_of_trajectories_from_one_well_warns(equilibrium):
    sets = (lambda x: x[:, 0] < -0.9), (lambda x: x[:, 0] > 0.9)
    left = committor(basis, short(equilibrium[equilibrium[:, 0] < -0.7][:200]), *sets, draws=20)
    assert any("do not begin at equilibrium" in w for w in left.warnings)
    assert left.quantities["rate_ab"].ci90 is None


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0, 32), (0.25, 390, 400)])
def test_how_often_noise_and_a_drift_are_noticed(shift, least, most):
    """By 20 stationary walks of 40 steps with heavy tails; more than 32 of 400 come once in 250 times at one in 20."""
    rng = np.random.default_rng(0)
    x = rng.standard_t(3, size=(140, 400, 20))
    for k in range(1, len(x)):
        x[k] += 0.9 * x[k - 1]
    x = np.moveaxis(x[100:], 0, 2) + shift * np.arange(40)
    noticed = sum(drifts(lambda x: torch.cat([x, x.abs()], 1).numpy(), trajectories(walks)) for walks in x)
    assert least <= noticed <= most


def trajectories(x):
    """Of a coordinate (trajectories, frames)."""
    return Frames.from_numpy(
        x.reshape(-1, 1), unit="reduced", dt=1.0, trajectory=np.repeat(np.arange(len(x)), x.shape[1])
    )


@pytest.mark.parametrize(("count", "relaxations", "one_well", "everywhere"), [(20, 1.5, 57, 7), (9, 5.0, 54, 7)])
def test_few_trajectories_of_few_relaxations_from_one_well_are_noticed(
    count, relaxations, one_well, everywhere, equilibrium
):
    """Of 60 sets; of those from equilibrium one in twenty is refused, and eight or more come once in fifty times."""
    noticed = []
    for starts in (equilibrium[equilibrium[:, 0] < -0.7], equilibrium):
        steps = 10 * round(relaxations / 0.7487 / 0.05)
        x = bcg.sampling.overdamped(
            WELL, steps, dt=5e-3, chains=60 * count, stride=10, starts=starts[: 60 * count], compile="off"
        )
        sets = np.asarray(x.positions).reshape(60, count, -1)
        noticed.append(sum(drifts(lambda x: torch.tanh(x).numpy(), trajectories(part)) for part in sets))
    assert noticed[0] >= one_well
    assert noticed[1] <= everywhere


def test_where_trajectories_are_long_their_beginnings_do_not_matter():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 2000))
    x[:, 0] = 2.0
    assert drifts(lambda x: x.numpy(), trajectories(x[:, :8]))
    assert not drifts(lambda x: x.numpy(), trajectories(x))


def test_nothing_is_said_of_a_single_trajectory_or_weighted_frames():
    x = np.tile(np.linspace(0, 1, 40), (20, 1))
    frames = trajectories(x)
    assert drifts(lambda x: x.numpy(), frames)
    assert not drifts(lambda x: x.numpy(), frames[:40])
    x = x.reshape(-1, 1)
    assert not drifts(lambda x: x.numpy(), Frames.from_numpy(x, unit="reduced", dt=1.0, weights=1.0 + x[:, 0]))
