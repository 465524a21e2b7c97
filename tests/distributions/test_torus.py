"""Wrapped densities are those of angles: normalised on the torus, the same after a turn, right in their draws."""

import math

import torch

from bayescg.distributions import LatentMixture, WrappedMixture, WrappedNormal, wrapped

GRID = (torch.arange(2000, dtype=torch.float64) + 0.5) * (2 * math.pi / 2000) - math.pi


def test_a_wrapped_normal_is_normalised_and_periodic():
    """By the rectangle rule, which is exact here; up to the images left out."""
    for mean in (0.0, 3.0, -7.0):
        for sd, error in ((0.15, 1e-9), (0.5, 1e-9), (math.pi / 2, 1e-4)):
            q = WrappedNormal(torch.tensor([mean], dtype=torch.float64), torch.tensor([sd], dtype=torch.float64))
            density = q.log_prob(GRID[:, None]).exp()
            assert abs(float(density.sum()) * 2 * math.pi / 2000 - 1) < error
            assert torch.allclose(q.log_prob(GRID[:, None] + 4 * math.pi), q.log_prob(GRID[:, None]), atol=1e-8)


def test_its_draws_have_the_circular_mean_and_width():
    """E cos(z - m) = exp(-s^2 / 2)."""
    torch.manual_seed(0)
    mean, sd = torch.tensor([[3.0, -1.0]], dtype=torch.float64), torch.tensor([[0.4, 0.9]], dtype=torch.float64)
    z = WrappedNormal(mean, sd).rsample((100_000,))[:, 0]
    assert z.abs().max() <= math.pi
    away = (z - mean).cos()
    assert ((away.mean(0) - torch.exp(-0.5 * sd[0] ** 2)).abs() < 4 * away.std(0) / 100_000**0.5).all()
    assert ((z - mean).sin().mean(0).abs() < 4 / 100_000**0.5).all()


def test_log_density_has_the_gradient_of_a_normal_one_far_from_the_seam():
    loc, scale = torch.zeros(1, dtype=torch.float64), torch.full((1,), 0.2, dtype=torch.float64)
    z = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(WrappedNormal(loc, scale).log_prob(z).sum(), z)
    assert abs(float(slope) + 0.3 / 0.04) < 1e-9


def test_mixtures_of_angles_are_normalised_and_cover_the_torus():
    torch.manual_seed(0)
    prior = LatentMixture(16, 2, angular=True).double()
    prior.reset_parameters()
    grid = torch.cartesian_prod(GRID[::20], GRID[::20])
    q = prior(torch.arange(160) % 16)
    assert isinstance(q, WrappedMixture)
    density = q.log_prob(grid).exp().detach()
    assert abs(float(density.sum()) * (2 * math.pi / 100) ** 2 - 1) < 1e-6
    assert float(density.min()) > 0.1 / (2 * math.pi) ** 2
    assert q.rsample().abs().max() <= math.pi


def test_angles_are_named_from_minus_pi_to_pi():
    angles = torch.linspace(-20, 20, 101, dtype=torch.float64)
    assert wrapped(angles).abs().max() <= math.pi
    assert torch.allclose(wrapped(angles).cos(), angles.cos())
