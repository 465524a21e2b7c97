"""A molecule over internal coordinates: its density holds the volume element, and leads back to its positions."""

import copy

import pytest
import torch

import bayescg as bcg
from bayescg.systems import CurvilinearSystem


@pytest.fixture(scope="module")
def system() -> CurvilinearSystem:
    molecule = bcg.systems.alanine_dipeptide("amber96", "obc1", 300.0)
    return CurvilinearSystem(molecule, bcg.features.unbounded_coordinates(molecule))


@pytest.fixture(scope="module")
def u(system: CurvilinearSystem) -> torch.Tensor:
    return 0.3 * torch.randn(20, system.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_density_is_that_of_the_positions_times_their_volume(system: CurvilinearSystem, u: torch.Tensor) -> None:
    x = system.positions(u)
    assert x.shape == (20, 22, 3)
    by_hand = system.cartesian.log_prob(x.flatten(1)) + system.coordinates.log_abs_det_jacobian(u)
    torch.testing.assert_close(system.log_prob(u), by_hand)
    torch.testing.assert_close(system.log_volume(u), system.coordinates.log_abs_det_jacobian(u))
    torch.testing.assert_close(system.from_positions(x.flatten(1)), u)


def test_its_forces_are_the_slope_of_its_density(system: CurvilinearSystem, u: torch.Tensor) -> None:
    along, step = torch.zeros_like(u), 1e-5
    along[:, 7] = step
    rise = (system.log_prob(u + along) - system.log_prob(u - along)) / (2 * step)
    torch.testing.assert_close(system.forces(u)[:, 7] / system.kT, rise, rtol=1e-5, atol=1e-3)


def test_a_guard_is_one_of_the_potential_energy(system: CurvilinearSystem, u: torch.Tensor) -> None:
    guarded = system.guarded(-1e4)
    assert torch.equal(guarded.unguarded.log_prob(u), system.log_prob(u))
    potential = guarded.kT * (guarded.log_volume(u) - guarded.log_prob(u))
    torch.testing.assert_close(potential, guarded.cartesian.energy(guarded.positions(u).flatten(1)))
    assert (potential < -9980).all()


def test_copies_move_with_their_own_coordinates(system: CurvilinearSystem, u: torch.Tensor) -> None:
    again = copy.deepcopy(system)
    assert again.coordinates is not system.coordinates
    assert again.cartesian is system.cartesian
    assert torch.equal(again.log_prob(u), system.log_prob(u))


def test_cartesian_coordinates_are_their_own_positions() -> None:
    well, molecule = bcg.systems.DoubleWell(), bcg.systems.alanine_dipeptide()
    x = torch.randn(3, 2)
    assert well.positions(x) is x
    assert well.cartesian is well.unguarded is well
    assert (well.log_volume(x) == 0).all()
    assert well.reference is None
    assert molecule.positions(torch.zeros(2, 66)).shape == (2, 22, 3)
