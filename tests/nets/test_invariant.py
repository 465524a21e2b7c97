"""Invariant energies: what must not change them does not, what must does, and their derivatives exist everywhere."""

from itertools import pairwise

import mdtraj
import pytest
import torch
from torch.func import grad, jacrev, vmap

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.nets import DescriptorEnergy, ParticleEnergy, smooth_cutoff

KINDS = torch.tensor([0, 1, 1, 2, 0, 1])


def particles(**settings) -> ParticleEnergy:
    torch.manual_seed(1)
    net = ParticleEnergy(3, **{"width": 12, "cutoff": 2.0, **settings}).double()
    net.measure(scattered())
    for p in net.parameters():
        torch.nn.init.normal_(p, 0.0, p.shape[-1] ** -0.5)
    return net.requires_grad_(False)


def scattered(n: int = 4, atoms: int = 6) -> torch.Tensor:
    return 0.8 * torch.randn(n, atoms, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def chain_of_four() -> tuple[DescriptorEnergy, torch.Tensor]:
    """A net of a chain of four beads, and conformations of it."""
    topology = mdtraj.Topology()
    residue = topology.add_residue("BEA", topology.add_chain())
    beads = [topology.add_atom(f"B{i}", mdtraj.element.carbon, residue) for i in range(4)]
    for pair in pairwise(beads):
        topology.add_bond(*pair)
    features = bcg.features.invariants(topology)
    assert features.size == 6 + 2 + 2
    torch.manual_seed(1)
    net, x = DescriptorEnergy(features, features.size, (8,)).double(), scattered(atoms=4)
    net.measure(x)
    return net.requires_grad_(False), x


def turned(x: torch.Tensor) -> torch.Tensor:
    """Rotated and moved."""
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3), dtype=x.dtype))
    return x @ (rotation * rotation.det()) + 5.0


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_particles_are_invariant(blocks):
    net, x = particles(blocks=blocks), scattered()
    energy = net(x, KINDS)
    assert float(energy.std()) > 1e-3
    torch.testing.assert_close(net(turned(x), KINDS), energy, rtol=1e-10, atol=1e-12)
    order = torch.tensor([4, 2, 5, 3, 0, 1])  # among like ones
    assert torch.equal(KINDS[order], KINDS)
    torch.testing.assert_close(net(x[:, order], KINDS), energy, rtol=1e-10, atol=1e-12)
    unlike = torch.tensor([1, 0, 2, 3, 4, 5])
    assert float((net(x[:, unlike], KINDS) - energy).abs().max()) > 1e-3
    everything = torch.tensor([3, 0, 5, 1, 2, 4])
    torch.testing.assert_close(net(x[:, everything], KINDS[everything]), energy, rtol=1e-10, atol=1e-12)


def test_a_mirror_image_differs_where_handed():
    x = scattered()
    mirrored = x * x.new_tensor([-1.0, 1.0, 1.0])
    net = particles(handed=True)
    assert float((net(mirrored, KINDS) - net(x, KINDS)).abs().median()) > 1e-3
    blind = particles(handed=False)
    torch.testing.assert_close(blind(mirrored, KINDS), blind(x, KINDS), rtol=1e-10, atol=1e-12)
    chain, x = chain_of_four()
    assert float((chain(x * x.new_tensor([1.0, 1.0, -1.0])) - chain(x)).abs().min()) > 1e-3
    torch.testing.assert_close(chain(turned(x)), chain(x), rtol=1e-9, atol=1e-11)


def test_energies_of_groups_beyond_the_cutoff_add():
    net, x = particles(blocks=2), scattered()
    apart = torch.cat([x[:1], x[1:2] + 20.0], 1)
    both = net(apart, torch.cat([KINDS, KINDS]))
    torch.testing.assert_close(both, net(x[:1], KINDS) + net(x[1:2], KINDS), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", ["planar", "straight"])
def test_derivatives_are_finite_where_angles_are_not_defined(shape):
    x = scattered(1)[0]
    x[:, 2] = 0.0
    if shape == "straight":
        x[:, 1] = 0.0
    (chain, _), net = chain_of_four(), particles()
    for energy, y in ((lambda v: net(v[None], KINDS)[0], x), (lambda v: chain(v[None])[0], x[:4])):
        for derivative in (grad(energy)(y), jacrev(grad(energy))(y)):
            assert torch.isfinite(derivative).all()


def test_forces_are_the_gradient():
    net, x = particles(blocks=2), scattered(2)
    exact = vmap(grad(lambda v: net(v[None], KINDS)[0]))(x)
    step = 1e-5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=x.dtype)
    difference = (net(x + step, KINDS) - net(x - step, KINDS)) / 2
    torch.testing.assert_close(difference, (exact * step).sum((1, 2)), rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("place", [0.0, 1.5])
def test_the_cutoff_has_two_continuous_derivatives(place):
    """And no third one: nearby, the second is of order of the distance."""
    second = grad(grad(lambda r: smooth_cutoff(r, 1.5)))
    for side in (-1e-4, 1e-4):
        assert abs(float(second(torch.tensor(place + side, dtype=torch.float64)))) < 100 * 1e-4
    inside = torch.linspace(0.01, 1.49, 50, dtype=torch.float64)
    assert (vmap(grad(lambda r: smooth_cutoff(r, 1.5)))(inside) < 0).all()


def test_activations_without_a_second_derivative_are_refused():
    with pytest.raises(ConfigError, match="piecewise constant"):
        ParticleEnergy(1, activation="relu")
    with pytest.raises(ConfigError, match="piecewise constant"):
        DescriptorEnergy(torch.nn.Identity(), 1, activation="relu")
    with pytest.raises(ConfigError, match='did you mean "tanh"'):
        ParticleEnergy(1, activation="tahn")
