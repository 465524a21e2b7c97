"""The Boltzmann distribution is the system's density, and systems come back from JSON."""

import json

import pyro
import pytest
import torch

from bayescg import systems
from bayescg.distributions import Boltzmann, GeometricPath, system_config, system_from_config
from bayescg.errors import ConfigError, ModelError
from bayescg.features import unbounded_coordinates

NAMED = [
    systems.CurvedWell(epsilon=0.1, temperature_kT=0.5), systems.DoubleWell(), systems.Harmonic((1.0, 4.0)),
    systems.MuellerBrown5D(), systems.Prinz(), systems.QuarticDoubleWell(dim=3), systems.ThreeWellRing(dim=50),
]  # fmt: skip


@pytest.mark.parametrize("system", NAMED, ids=repr)
def test_density_is_the_boltzmann_factor_at_beta(system):
    x = torch.randn(7, system.dim, generator=torch.Generator().manual_seed(0))
    found = Boltzmann(system, 0.25).log_prob(x)
    torch.testing.assert_close(found, -0.25 * system.energy(x) / system.kT)
    torch.testing.assert_close(Boltzmann(system).expand((7,)).log_prob(x), system.log_prob(x))


@pytest.mark.parametrize("system", NAMED, ids=repr)
def test_a_named_system_comes_back_from_json(system):
    again = system_from_config(json.loads(json.dumps(system_config(system))))
    x = torch.randn(7, system.dim, generator=torch.Generator().manual_seed(0))
    assert type(again) is type(system)
    assert torch.equal(again.log_prob(x), system.log_prob(x))


def test_a_molecule_is_tempered_along_either_path():
    """The volume element stays as it is along one; the other begins at the standard normal density."""
    molecule = systems.alanine_dipeptide()
    system = systems.CurvilinearSystem(molecule, unbounded_coordinates(molecule))
    u = 0.1 * torch.randn(5, system.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    physical, volume = molecule.log_prob(system.positions(u).flatten(1)), system.log_volume(u)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(-1)
    torch.testing.assert_close(Boltzmann(system, 0.25).log_prob(u), 0.25 * physical + volume)
    torch.testing.assert_close(GeometricPath(system, 0.25).log_prob(u), 0.25 * (physical + volume) + 0.75 * normal)
    for end in (Boltzmann(system), GeometricPath(system)):
        torch.testing.assert_close(end.expand((5,)).log_prob(u), system.log_prob(u))


def test_an_own_energy_function_is_asked_for_again():
    own = systems.from_function(lambda x: (x**2).sum(-1), dim=2)
    assert system_config(own) is None
    with pytest.raises(ConfigError, match="give it"):
        system_from_config(None)


def test_nothing_is_drawn_from_it():
    with pytest.raises(ModelError, match="in the guide"):
        pyro.sample("x", Boltzmann(systems.DoubleWell()))
