"""Clusters: published lowest energies, forces, and what may not matter."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from bayescg.errors import ConfigError
from bayescg.sampling import langevin
from bayescg.systems import LennardJonesCluster, MorseCluster, System


def lowest(system: System) -> float:
    """Energy of the minimum downhill of the start."""

    def value_and_slope(x):
        x = torch.as_tensor(x)
        return float(system.energy(x)), -system.forces(x).numpy()

    start = np.asarray(system.start).ravel()  # pyright: ignore[reportAttributeAccessIssue]
    return float(minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).fun)


@pytest.mark.parametrize(("atoms", "energy"), [(2, -1.0), (13, -44.326801), (38, -173.928427)])
def test_lennard_jones_clusters_have_their_published_energies(atoms, energy):
    """Of the Cambridge Cluster Database (Wales, Doye 1997); the wall is far away."""
    assert abs(lowest(LennardJonesCluster(atoms)) - energy) < 2e-6


def test_a_morse_tetrahedron_is_the_minimum():
    assert abs(lowest(MorseCluster(4)) + 18.0) < 1e-8
    pair = MorseCluster(2)
    x = torch.tensor([0.0, 0.0, 0.0, 3.0, 0.0, 0.0], dtype=torch.float64)
    e = np.exp(-4.0)
    assert abs(float(pair.energy(x)) - (3 * (e**2 - 2 * e) + 0.3 * 0.25)) < 1e-12


@pytest.mark.parametrize("system", [MorseCluster(5), LennardJonesCluster(13), LennardJonesCluster(7)], ids=repr)
def test_neither_place_nor_order_matters(system):
    x = torch.tensor(system.start) + 0.05 * torch.randn(len(system.start), 3, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    energy = system.energy(x.flatten())
    for y in (x @ rotation + 3.0, x.flip(0)):
        torch.testing.assert_close(system.energy(y.flatten()), energy, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        system.forces(x.flip(0).flatten()), system.forces(x.flatten()).view(-1, 3).flip(0).flatten()
    )
    total = system.forces(x.flatten()).view(-1, 3).sum(0)
    torch.testing.assert_close(total, torch.zeros_like(total), rtol=0, atol=1e-9)


def test_a_wall_brings_evaporated_particles_back():
    system = LennardJonesCluster(2, radius=1.0)
    x = torch.tensor([[-4.0, 0.0, 0.0, 4.0, 0.0, 0.0]], dtype=torch.float64)
    force = system.forces(x).view(2, 3)
    assert float(force[0, 0]) > 50.0
    assert float(force[1, 0]) < -50.0


def test_dynamics_begins_at_the_start():
    frames = langevin(LennardJonesCluster(13), 20, dt=0.005, chains=2, energy=True, forces=True, progress=False)
    assert frames.energy is not None
    assert float(frames.energy[0]) < -40.0


@pytest.mark.parametrize("make", [MorseCluster, LennardJonesCluster])
def test_numbers_are_checked(make):
    with pytest.raises(ConfigError, match="atoms=1"):
        make(1)
    with pytest.raises(ConfigError, match="temperature_kT=0"):
        make(4, temperature_kT=0.0)
