"""The energy guard: exact below the cut, logarithmic above, differentiable, and honest about how often it acted."""

import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from bayescg.errors import ConfigError
from bayescg.systems import alanine_dipeptide, from_function


@pytest.fixture
def steep():
    return from_function(lambda x: x[:, 0] ** 4, dim=1)


def points(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_below_the_cut_nothing_changes_and_above_it_grows_like_a_logarithm(steep):
    guarded = steep.guarded(16.0)
    x = points(1.0, -2.0, 3.0, 10.0)
    exact = torch.tensor([1.0, 16.0, 16.0 + math.log(66.0), 16.0 + math.log(9985.0)], dtype=torch.float64)
    torch.testing.assert_close(guarded.energy(x), exact)
    slope = torch.tensor([1.0, 1.0, 1 / 66.0, 1 / 9985.0], dtype=torch.float64)[:, None]
    torch.testing.assert_close(guarded.forces(x), slope * steep.forces(x))
    torch.testing.assert_close(guarded.log_prob(x), -exact)


def test_it_counts_what_it_did(steep):
    guarded = steep.guarded(16.0)
    assert (guarded.evaluations, guarded.active) == (0, 0)
    guarded.energy(points(1.0, 2.0, 3.0))
    guarded.energy(points(1.0, float("nan")).reshape(2, 1, 1))
    assert (guarded.evaluations, guarded.active) == (5, 1)


def test_it_still_counts_when_it_is_traced(steep):
    guarded = steep.guarded(16.0)
    graph = make_fx(lambda x: torch.autograd.grad(guarded.energy(x).sum(), x)[0])(points(1.0, 2.0).requires_grad_())
    before = guarded.active
    torch.testing.assert_close(graph(points(3.0, 1.0).requires_grad_()), -guarded.forces(points(3.0, 1.0)))
    assert guarded.active == before + 2


def test_gradients_are_right_to_second_order(steep):
    guarded = steep.guarded(16.0)
    x = points(0.5, 1.9, 2.1, 3.0).requires_grad_()
    assert torch.autograd.gradcheck(guarded.energy, x)
    assert torch.autograd.gradgradcheck(guarded.energy, x)


def test_overflow_is_flat_and_nan_is_kept(steep):
    guarded = steep.guarded(16.0)
    x = torch.tensor([[1e15], [float("nan")]])
    energy = guarded.energy(x)
    assert float(energy[0]) == pytest.approx(16.0 + math.log(1e20), rel=1e-6)
    assert energy[1].isnan()
    assert guarded.forces(x)[1].isnan()
    clash = torch.zeros(1, 66)
    molecule = alanine_dipeptide().guarded(1e3)
    assert float(molecule.energy(clash)) < 1.1e3
    assert torch.isfinite(molecule.forces(clash)).all()


def test_a_guarded_molecule_is_still_a_molecule():
    system = alanine_dipeptide()
    guarded = system.guarded(500.0)
    assert guarded.topology is system.topology
    assert guarded.openmm_system is system.openmm_system  # type: ignore[attr-defined]
    assert (guarded.kT, guarded.temperature, guarded.dim) == (system.kT, system.temperature, 66)
    assert repr(guarded) == "MolecularSystem(dim=66, temperature=330.0 K).guarded(500)"
    with pytest.raises(AttributeError):
        guarded.nothing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ConfigError, match="cut=inf must be a number"):
        system.guarded(float("inf"))
