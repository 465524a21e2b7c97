"""Systems from functions: exact energies, forces, densities; every batch shape."""

import pytest
import torch

from bayescg.errors import ConfigError
from bayescg.systems import System, from_function
from bayescg.units import kT

STIFFNESS = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)


def harmonic(x):
    return 0.5 * (STIFFNESS.to(x) * x**2).sum(-1)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3), (1, 1, 1, 3)])
def test_harmonic_oscillator_is_exact_in_every_shape(shape):
    system = from_function(harmonic, dim=3, temperature_kT=2.0)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(system.energy(x), 0.5 * (STIFFNESS * x**2).sum(-1))
    torch.testing.assert_close(system.forces(x), -STIFFNESS * x)
    torch.testing.assert_close(system.log_prob(x), -0.25 * (STIFFNESS * x**2).sum(-1))
    assert system.energy(x).shape == shape[:-1]


def test_log_prob_is_differentiable_and_forces_are_detached():
    system = from_function(harmonic, dim=3)
    x = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(system.log_prob(x).sum(), x)
    torch.testing.assert_close(gradient, -STIFFNESS.expand(4, 3))
    assert not system.forces(x).requires_grad
    assert x.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(system.forces(x), -STIFFNESS.expand(4, 3))


def test_temperature_in_kelvin_sets_kt():
    system = System(harmonic, 3, temperature=300.0)
    assert system.kT == pytest.approx(kT(300.0))
    assert system.temperature == 300.0
    assert from_function(harmonic, 3).temperature is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 3}, "only one"),
        ({"dim": 3, "temperature": 300.0, "temperature_kT": 1.0}, "only one"),
        ({"dim": 3, "temperature": -1.0}, "positive"),
        ({"dim": 3, "temperature": 0.0}, "positive"),
        ({"dim": 3, "temperature_kT": float("nan")}, "positive"),
        ({"dim": 0, "temperature_kT": 1.0}, "dim=0 must be a whole number, at least 1"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        System(harmonic, **arguments)


def test_wrong_shapes_are_refused():
    system = from_function(harmonic, dim=3)
    with pytest.raises(ConfigError, match=r"expected coordinates of shape \(..., 3\), got \(5, 2\)"):
        system.energy(torch.zeros(5, 2))
    with pytest.raises(ConfigError, match="got"):
        system.energy(torch.tensor(1.0))
    with pytest.raises(ConfigError, match="returned shape"):
        from_function(lambda x: x.sum(), dim=2)
