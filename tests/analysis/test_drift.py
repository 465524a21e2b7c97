"""Trajectories that do not begin at equilibrium are noticed, those that do once in 500 times."""

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


@pytest.mark.parametrize(("shift", "least", "most"), [(0.0, 0, 4), (0.4, 380, 400)])
def test_how_often_noise_and_a_drift_are_noticed(shift, least, most):
    """Walks that begin anywhere, of heavy-tailed steps; 5 of 400 would be more than one time in 500 gives."""
    rng = np.random.default_rng(0)
    steps = rng.standard_t(3, size=(400, 20, 40)) + shift
    x = np.cumsum(steps, 2) - np.cumsum(steps, 2).mean(2, keepdims=True)
    frames = [
        Frames.from_numpy(one.reshape(-1, 1), unit="reduced", dt=1.0, trajectory=np.repeat(np.arange(20), 40))
        for one in x
    ]
    noticed = sum(drifts(lambda x: torch.cat([x, x.abs()], 1).numpy(), one) for one in frames)
    assert least <= noticed <= most


def test_nothing_is_said_of_few_trajectories_or_weighted_frames():
    x = np.tile(np.linspace(0, 1, 40), 20)[:, None]
    frames = Frames.from_numpy(x, unit="reduced", dt=1.0, trajectory=np.repeat(np.arange(20), 40))
    assert drifts(lambda x: x.numpy(), frames)
    assert not drifts(lambda x: x.numpy(), frames[: 9 * 40])
    assert not drifts(lambda x: x.numpy(), Frames.from_numpy(x, unit="reduced", dt=1.0, weights=1.0 + x[:, 0]))
