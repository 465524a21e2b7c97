"""Parallel tempering: exact populations from a start in the wrong well, exact rates of exchange, its ladder."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import gamma

from bayescg.errors import ConfigError
from bayescg.sampling import hmc, parallel_tempering
from bayescg.systems import DoubleWell, Harmonic

RIGHT = np.tile([[2.36, 0.0]], (300, 1)).astype(np.float32)
LADDER = (1.0, 2.2, 5.0)


def z_score(frames, chains, observable, exact):
    means = observable(frames.positions).reshape(chains, -1).mean(1, dtype=np.float64)
    return (means.mean() - exact) / (means.std(ddof=1) / np.sqrt(chains))


EXACT = [(lambda x: x[:, 0] < 0.16745, 0.991654), (lambda x: x[:, 0], -2.44110), (lambda x: x[:, 1] ** 2, 1.0)]


def test_wells_are_populated_exactly_from_a_start_in_the_wrong_one():
    frames = parallel_tempering(
        DoubleWell(), 300, temperatures=LADDER, dt=0.3, leapfrog=5, starts=RIGHT, equilibration=200, seed=1
    )
    for observable, exact in EXACT:
        assert abs(z_score(frames, 300, observable, exact)) < 4
    assert frames.energy is not None
    assert np.allclose(frames.energy, DoubleWell().energy(torch.as_tensor(frames.positions)).numpy(), atol=1e-5)
    # negative control: the same steps at one temperature stay in the wrong well
    alone = hmc(DoubleWell(), 300, dt=0.3, leapfrog=5, starts=RIGHT, equilibration=200, seed=1)
    assert (alone.positions[:, 0] < 0.16745).mean() < 0.5


def test_swaps_are_accepted_as_often_as_they_must():
    """Energies of d springs follow a gamma law, so that the probability of an exchange is a double integral."""
    system, temperatures = Harmonic((1.0, 2.0, 3.0, 4.0)), (1.0, 2.0, 6.0)
    frames = parallel_tempering(
        system, 700, temperatures=temperatures, dt=0.25, leapfrog=4, chains=300, equilibration=50, seed=2
    )
    q = (np.arange(4000) + 0.5) / 4000
    for found, (low, high) in zip(frames.provenance["swaps"], pairwise(temperatures), strict=True):
        gain = (1 / low - 1 / high) * (gamma.ppf(q, 2, scale=low)[:, None] - gamma.ppf(q, 2, scale=high))
        # 112 500 attempts; neighbouring ones are correlated, hence twice the standard error of independent ones
        exact = np.minimum(1.0, np.exp(gain)).mean()
        assert abs(found - exact) < 4 * 2 * np.sqrt(exact * (1 - exact) / 112_500)
    assert frames.provenance["cost"]["force_evaluations"] == 300 * (1 + 3 * 4 * 750)
    assert frames.provenance["cost"]["energy_evaluations"] == 300 * (1 + 3 * 750)


@pytest.mark.parametrize("temperatures", [(1.0,), (2.0, 3.0), (1.0, 3.0, 2.0), (1.0, float("inf")), 1.0, "ab"])
def test_a_ladder_must_begin_at_the_system_and_rise(temperatures):
    with pytest.raises(ConfigError, match=r"must begin with the system's own, 1, and increase"):
        parallel_tempering(DoubleWell(), 10, temperatures=temperatures, dt=0.1)
