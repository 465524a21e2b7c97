"""Densities on a lattice: sums are integrals, draws follow the weights, and so do their derivatives."""

import math

import pyro.distributions as dist
import pytest
import torch

from bayescg.distributions import LatticeDensity, LatticeMixture, StratifiedLattice
from bayescg.nets import CoarsePotential


def double(dim: int, nodes: int, degree: int = 4) -> CoarsePotential:
    potential = CoarsePotential(dim, degree, nodes).double()
    with torch.no_grad():
        potential.coefficients.copy_(
            0.4 * torch.randn(len(potential.powers), generator=torch.Generator().manual_seed(0))
        )
    return potential


def test_a_mixture_is_that_of_its_gaussians():
    generator = torch.Generator().manual_seed(1)
    mean, sd = (
        torch.randn(30, 5, generator=generator).double() * 3 + 100,
        torch.tensor([0.1, 0.5, 1.0, 2.0, 0.2]).double(),
    )
    log_weights = torch.log_softmax(torch.randn(30, generator=generator).double(), 0)
    x = mean[:7] + sd * torch.randn(7, 5, generator=generator).double()
    exact = dist.MixtureSameFamily(dist.Categorical(logits=log_weights), dist.Normal(mean, sd).to_event(1)).log_prob(x)
    torch.testing.assert_close(LatticeMixture(log_weights, mean, sd).log_prob(x), exact, rtol=0, atol=1e-9)
    single = LatticeMixture(log_weights.float(), mean.float(), sd.float()).log_prob(x.float())
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=0.02)  # coordinates around 100 of width 0.1


@pytest.mark.parametrize(("dim", "nodes"), [(1, 201), (2, 49)])
def test_a_gaussian_behind_an_affine_map_is_a_gaussian(dim, nodes):
    """The error of the sum is that of rounding where the noise is as wide as the step between neighbours."""
    generator = torch.Generator().manual_seed(2)
    axis = torch.linspace(-7, 7, nodes).double()
    square = torch.cartesian_prod(*[axis] * dim).reshape(-1, dim)
    coarse = LatticeDensity(axis, -0.5 * square.square().sum(-1))
    loadings, sd = torch.randn(dim, 4, generator=generator).double(), torch.tensor([0.6, 0.5, 0.8, 0.7]).double()
    mixture = LatticeMixture(coarse.log_weights, square @ loadings, sd)
    x = torch.randn(20, 4, generator=generator).double()
    exact = torch.distributions.MultivariateNormal(torch.zeros(4).double(), loadings.T @ loadings + torch.diag(sd**2))
    torch.testing.assert_close(mixture.log_prob(x), exact.log_prob(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("dim", "nodes"), [(1, 101), (2, 41)])
def test_draws_follow_the_weights_and_so_do_their_derivatives(dim, nodes):
    """Averages against sums over the nodes; d<X>/d theta against -Cov(X, phi)."""
    potential = double(dim, nodes)
    theta = potential.coefficients
    coarse = LatticeDensity(potential.axis, -potential(potential.lattice))
    torch.manual_seed(3)
    x = coarse.rsample((40_000,))
    weight, nodes_of = coarse.log_weights.exp().detach(), potential.lattice
    functions = potential.functions(nodes_of)
    step = float(potential.axis[1] - potential.axis[0])
    for power in (1, 2):
        exact = weight @ nodes_of**power + (step**2 / 12 if power == 2 else 0.0)
        error = (x.detach() ** power).std(0) / 200
        assert (((x.detach() ** power).mean(0) - exact).abs() < 4 * error + 0.3 * step**2).all()
    of_draws = torch.autograd.grad(x[:, 0].mean(), theta)[0]
    mean = weight @ nodes_of[:, 0]
    exact = -(weight * (nodes_of[:, 0] - mean)) @ functions
    torch.testing.assert_close(of_draws, exact, rtol=0.15, atol=0.03)


def test_densities_and_moments_of_a_lattice():
    axis = torch.linspace(-6, 6, 241).double()
    normal = LatticeDensity(axis, -0.5 * axis**2)
    assert float(normal.variance) == pytest.approx(1.0, abs=1e-6)
    x = torch.tensor([[0.0], [1.0], [-2.0]]).double()
    wanted = -0.5 * x[:, 0] ** 2 - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(normal.log_prob(x), wanted, rtol=0, atol=1e-3)
    two = LatticeDensity(axis[::6], -0.5 * torch.cartesian_prod(axis[::6], axis[::6]).square().sum(-1))
    assert two.event_shape == (2,)
    assert float(two.log_prob(torch.tensor([0.3, -0.6]).double())) == pytest.approx(
        -0.5 * (0.09 + 0.36) - math.log(2 * math.pi), abs=1e-3
    )


@pytest.mark.parametrize(("dim", "degree"), [(1, 4), (1, 8), (2, 4), (2, 6)])
def test_every_potential_is_a_density_with_its_gauge_pinned(dim, degree):
    potential = double(dim, 41, degree)
    far = torch.tensor([[30.0] * dim, [-30.0] + [25.0] * (dim - 1)]).double()
    assert (potential(far) > 1000).all()
    counted = {(1, 4): 2, (1, 8): 6, (2, 4): 7, (2, 6): 18}[dim, degree]
    assert len(potential.powers) == len(potential.coefficients) == counted
    assert all(max(a) < degree - 1 and sum(a) < degree for a in potential.powers)
    x = torch.linspace(-2, 2, 9).double()[:, None].expand(9, dim)
    angle = torch.acos(x[:, 0] / 2)  # C_k(2 cos t) = 2 cos k t
    for column, a in zip(potential.functions(x).T, potential.powers, strict=True):
        wanted = torch.stack([2 * torch.cos(k * angle) if k else torch.ones(9).double() for k in a]).prod(0)
        torch.testing.assert_close(column, wanted, rtol=0, atol=1e-9)


def test_shares_make_averages_of_stratified_rows_those_of_the_mixture():
    """Averages, their derivatives by the weights, and the density of the rows."""
    theta = torch.tensor([1.5, -0.5, 0.3, -4.0], dtype=torch.float64, requires_grad=True)
    mean, sd = torch.tensor([[-3.0], [0.0], [1.0], [4.0]]).double(), torch.tensor([0.5]).double()
    torch.manual_seed(0)
    rows = StratifiedLattice(torch.log_softmax(theta, 0), mean, sd, 100_000)
    x = rows.rsample()[:, 0]
    averages = torch.stack([(rows.share * x).mean(), (rows.share * x**2).mean()])
    weight = torch.softmax(theta, 0)
    exact = torch.stack([weight @ mean[:, 0], weight @ (mean[:, 0] ** 2 + 0.25)])
    torch.testing.assert_close(averages, exact, rtol=0, atol=0.02)
    for ours, theirs in zip(averages, exact, strict=True):
        gradients = (torch.autograd.grad(v, theta, retain_graph=True)[0] for v in (ours, theirs))
        torch.testing.assert_close(*gradients, rtol=0.02, atol=0.01)
    fraction = torch.bincount(rows.node, minlength=4) / 100_000
    torch.testing.assert_close(fraction.double(), rows.log_rows.exp(), rtol=0, atol=2e-5)
    assert fraction[3] > 5 * weight[3]
    plain = LatticeMixture(rows.log_rows, mean, sd)
    torch.testing.assert_close(rows.log_prob_of_rows(x[:5, None]), plain.log_prob(x[:5, None]))
