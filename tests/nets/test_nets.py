"""Networks: what they return, and the priors over their weights."""

import math
from typing import Any

import numpy as np
import pyro
import pytest
import scipy.stats
import torch
from pyro import poutine
from torch import nn

from bayescg.nets import ACTIVATIONS, MLP, ConditionalGaussian, RitzModes, Standardise, ard, gaussian, random_net
from bayescg.nets.generator_eigenfunctions.tangents import TangentMLP


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3)])
def test_mlp_keeps_leading_axes(activation, shape):
    net = MLP(3, 2, hidden=(4,), activation=activation).double()
    x = torch.randn(shape, dtype=torch.float64)
    assert net(x).shape == (*shape[:-1], 2)
    torch.testing.assert_close(net(x.reshape(-1, 3)).reshape(net(x).shape), net(x))


def test_mlp_without_hidden_layers_is_affine():
    net = MLP(3, 2, hidden=()).double()
    x, y = torch.randn(2, 6, 3, dtype=torch.float64)
    torch.testing.assert_close(net(0.3 * x + 0.7 * y), 0.3 * net(x) + 0.7 * net(y))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_gradients_are_right(activation):
    net = MLP(3, 2, hidden=(4, 4), activation=activation).double()
    assert torch.autograd.gradcheck(net, torch.randn(4, 3, dtype=torch.float64, requires_grad=True))


def test_standardise_is_a_bijection_and_keeps_constants_finite():
    x = torch.randn(200, 3, dtype=torch.float64) * torch.tensor([1e-3, 5.0, 0.0], dtype=torch.float64) + 2
    s = Standardise(3).double()
    s.set(x.mean(0), x.std(0))
    y = s(x)
    torch.testing.assert_close(s.inverse(y), x)
    torch.testing.assert_close(y[:, :2].std(0), torch.ones(2, dtype=torch.float64))
    assert torch.isfinite(y).all()
    assert {"mean", "width"} == set(s.state_dict())


def test_conditional_gaussian_is_a_distribution_of_the_right_shape():
    net = ConditionalGaussian(3, 2, hidden=(4,))
    d = net(torch.randn(5, 3))
    assert d.batch_shape == (5,)
    assert d.event_shape == (2,)
    assert d.has_rsample
    mean, log_scale = net.net(torch.zeros(1, 3)).chunk(2, -1)
    normal = torch.distributions.Normal(mean, (8 * torch.tanh(log_scale / 8)).exp())
    z = torch.randn(1, 2)
    torch.testing.assert_close(net(torch.zeros(1, 3)).log_prob(z), normal.log_prob(z).sum(-1))


@pytest.mark.parametrize("size", [1e3, -1e3, 1e6])
def test_conditional_gaussian_stays_finite_far_out(size):
    net = ConditionalGaussian(3, 2, hidden=())
    d = net(torch.full((1, 3), size))
    assert torch.isfinite(d.stddev).all()
    assert (d.stddev > 0).all()


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (0.5, 2.0), (3.0, 0.1)])
def test_ard_is_the_gamma_mixture_of_gaussians(a, b):
    """The integral over the precision, by quadrature."""
    w = np.linspace(-4, 4, 9)
    tau = np.logspace(-6, 4, 40_001) * a / b
    density = scipy.stats.gamma.pdf(tau, a, scale=1 / b) * scipy.stats.norm.pdf(w[:, None], scale=tau**-0.5)
    exact = np.log(np.trapezoid(density * tau, np.log(tau), axis=1))
    found = [float(ard(a, b)(torch.zeros(1, dtype=torch.float64)).log_prob(torch.tensor([v]).double())) for v in w]
    np.testing.assert_allclose(found, exact, atol=2e-3)


def test_gaussian_prior_is_the_product_of_its_weights():
    d = gaussian(3.0)(torch.zeros(2, 4, dtype=torch.float64))
    assert d.event_shape == (2, 4)
    assert float(d.log_prob(torch.zeros(2, 4).double())) == pytest.approx(-8 * math.log(3 * math.sqrt(2 * math.pi)))


def test_random_net_samples_every_parameter_at_its_name_and_uses_the_sample():
    model = nn.Module()
    model.net = MLP(2, 1, hidden=(3,))
    priors = {"weight": ard(1.0, 1.0), "bias": gaussian(1.0)}
    x = torch.randn(4, 2)
    nodes: dict[str, Any] = dict(poutine.trace(lambda: random_net(model, "net", priors)(x)).get_trace().nodes)
    names = {f"net.{k}" for k, _ in model.net.named_parameters()}
    assert {k for k, s in nodes.items() if s["type"] == "sample"} == names
    values = {k.removeprefix("net."): nodes[k]["value"] for k in names}
    torch.testing.assert_close(nodes["_RETURN"]["value"], torch.func.functional_call(model.net, values, (x,)))
    fixed = poutine.condition(random_net, data={f"net.{k}": p for k, p in model.net.named_parameters()})
    torch.testing.assert_close(fixed(model, "net", priors)(x), model.net(x))


def test_random_net_gradients_reach_the_sampled_weights():
    model = nn.Module()
    model.net = nn.Linear(2, 1)
    values = {f"net.{k}": torch.randn_like(p).requires_grad_() for k, p in model.net.named_parameters()}
    program = poutine.condition(lambda: random_net(model, "net", {"weight": ard(1, 1), "bias": gaussian(1)}), values)
    out = program()(torch.ones(3, 2)).sum()
    gradients = torch.autograd.grad(out, list(values.values()))
    assert all(g.abs().min() > 0 for g in gradients)
    assert len(pyro.get_param_store()) == 0


@pytest.mark.parametrize("used", [50, 2])
def test_fewer_directions_have_the_same_sums_of_squares(used):
    """Also where the net has left most of its inputs out, so that few of the directions differ."""
    torch.manual_seed(0)
    net = TangentMLP(50, (32, 8))
    with torch.no_grad():
        net.layers[0].relative[:, used:] *= 1e-6
        fewest = net.fewest(torch.eye(50))
        y = torch.randn(20, 50)
        all_of_them, few = (net.carried(y, along)[1] for along in (net.entering(torch.eye(50)), fewest))
    assert len(fewest) == 32
    torch.testing.assert_close(few.square().sum(1), all_of_them.square().sum(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rounding", [0.0, 1e-16])
def test_a_function_that_does_not_vary_is_left_out_of_ritz_modes(rounding):
    """The others are solutions with the noise, and their Rayleigh quotients its eigenvalues."""
    a, b = torch.tensor([[1.0, 0.2], [0.2, 3.0]]).double(), torch.tensor([[1.0, 0.1], [0.1, 0.5]]).double()
    modes = RitzModes(3, 2)
    noise = modes.noise * torch.eye(2).double()
    exact = torch.linalg.eigvals(torch.linalg.solve(b + noise, a + modes.decay * noise)).real.sort().values
    dead = torch.zeros(3, 3).double()
    dead[:2, :2], dead[2, 2] = b, rounding
    c = modes.solve(torch.block_diag(a, torch.zeros(1, 1).double()), dead).double()
    assert (c[2] == 0).all()
    energies, variances = torch.einsum("ik,ij,jk->k", c[:2], a, c[:2]), torch.einsum("ik,ij,jk->k", c[:2], b, c[:2])
    torch.testing.assert_close(modes.quotients(energies, variances, c), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("rare", "slowest"), [(1, 1.0), (1000, 0.0)])
def test_a_step_to_rare_frames_is_no_slow_mode(rare, slowest):
    """No frame lies on a step from -1 to 1, so that it costs no energy: of one frame in 10 000 that says nothing."""
    share = rare / 10_000
    a, b = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 4 * share * (1 - share)]])
    modes = RitzModes(2, 1)
    c = modes.solve(a, b)
    found = modes.quotients((c * (a @ c)).sum(0), (c * (b @ c)).sum(0), c)
    assert float(found) == pytest.approx(slowest, abs=0.05)
