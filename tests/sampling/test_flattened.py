"""Configurations that lie as evenly as they can."""

import numpy as np
import pytest

import bayescg as bcg
from bayescg.errors import ConfigError, SimulationError
from bayescg.sampling import flattened
from bayescg.sampling.chains.flattened import flattest

WELL = bcg.systems.QuarticDoubleWell()
SETTINGS = {"dt": 0.005, "steps": 4000, "chains": 50, "stride": 20}


def test_cells_are_filled_one_by_one_until_all_are_empty_or_full():
    values = np.r_[np.full(100, 0.05), np.full(30, 0.5), np.full(3, 0.95)]
    rows, cells = flattest(values, 43, 10, np.random.default_rng(0))
    assert cells == 3
    assert sorted(np.unique(values[rows], return_counts=True)[1]) == [3, 20, 20]
    assert len(set(rows)) == 43


def test_a_grid_of_two_cvs():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5000, 2))
    rows, cells = flattest(values, 400, 8, rng)
    kept = values[rows]
    assert cells > 40
    assert kept.std(0).min() > 1.4 * values.std(0).max()  # the rim counts as much as the middle


def test_energies_are_flat_and_those_of_the_system():
    frames = flattened(WELL, 200, ceiling=8.0, bins=10, **SETTINGS)
    import torch

    energy = np.asarray(frames.energy)
    np.testing.assert_allclose(energy, WELL.energy(torch.as_tensor(frames.positions)).numpy(), rtol=1e-5, atol=1e-6)
    low, high = energy.min(), energy.max()
    assert high - low <= 8.0 * WELL.kT
    counts = np.histogram(energy, np.linspace(low, high + 1e-6, 11))[0]
    assert counts.min() >= 0.5 * counts.max()
    equilibrium = bcg.sampling.overdamped(WELL, 2000, dt=0.005, chains=50, stride=40, energy=True)
    cold = np.histogram(np.asarray(equilibrium.energy), np.linspace(low, high + 1e-6, 11))[0]
    assert cold.min() < 0.1 * cold.max()
    assert frames.kT == WELL.kT
    assert frames.order is None
    assert frames.provenance["cells"] == 10


def test_flat_over_a_cv():
    frames = flattened(WELL, 100, cv=lambda x: x[:, 0], ceiling=8.0, **SETTINGS)
    x = frames.positions[:, 0]
    counts = np.histogram(x, np.linspace(x.min(), x.max() + 1e-6, 11))[0]
    assert counts.min() >= 0.5 * counts.max()


def test_langevin_of_a_heated_molecule_keeps_its_temperature():
    system = bcg.systems.alanine_dipeptide()
    frames = flattened(
        system, 5, dt=0.0005, dynamics="langevin", steps=20, chains=2, stride=4, cv=lambda x: x[:, 0, 0], heat=2.0
    )
    assert frames.temperature == system.temperature
    assert frames.positions.shape == (5, 22, 3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n": 10**6, "ceiling": 1.0}, SimulationError, r"within ceiling=1.0 kT, fewer than n=1000000"),
        ({"n": 10**6}, SimulationError, "fewer than n=1000000"),
        ({"heat": 0.5}, ConfigError, "heat"),
        ({"dynamics": "newton"}, ConfigError, "not known"),
        ({"cv": lambda x: x.sum()}, ConfigError, "cv must map positions"),
    ],
)
def test_what_cannot_be_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        flattened(WELL, **{"n": 10, **SETTINGS, "steps": 100, **arguments})
