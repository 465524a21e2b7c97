"""Spline flows are bijections whose densities are exact, on lines and circles."""

import math
from typing import Any

import pytest
import torch

from bayescg.nets import SplineFlow

KINDS = {
    "linear": [False] * 4,
    "circular": [True] * 3,
    "mixed": [False, True, False, True, False],
    "one": [False],
    "one circular": [True],
}


def stirred(circular, by=0.4, **sizes):
    """A flow far from its start, in double precision."""
    torch.manual_seed(0)
    flow = SplineFlow(circular, **{"layers": 4, "bins": 5, "hidden": (16,), **sizes}).double()
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(by * torch.randn_like(p))
    flow.place(torch.full((len(circular),), 0.3), 2.0)
    return flow


@pytest.fixture(autouse=True)
def _own_generator():
    with torch.random.fork_rng():
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_is_the_bases_times_the_jacobian(kind):
    flow = stirred(KINDS[kind])
    q: Any = flow().dist
    x = q.sample((20,))
    found = q.log_prob(x)
    for row, log_prob in zip(x, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(q.transform, row)
        exact = q.base.log_prob(q.transform(row)) + torch.linalg.slogdet(jacobian)[1]
        assert abs(float(exact.detach() - log_prob.detach())) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_is_the_inverse_and_tells_the_same_density(kind):
    q = stirred(KINDS[kind])().dist
    with torch.no_grad():
        x, log_prob = q.rsample_and_log_prob((2000,))
        assert (q.log_prob(x) - log_prob).abs().max() < 1e-8
        assert (q.transform.inv(q.transform(x)) - x).abs().max() < 1e-8


def test_single_precision_is_enough_for_weights():
    flow = stirred(KINDS["mixed"], by=0.1, layers=8)
    single = SplineFlow(KINDS["mixed"], layers=8, bins=5, hidden=(16,))
    single.load_state_dict({k: v.float() for k, v in flow.state_dict().items()})
    with torch.no_grad():
        x, log_prob = single().dist.rsample_and_log_prob((5000,))
        error = (flow().log_prob(x.double()) - log_prob).abs()
    assert error.median() < 1e-5
    assert error.max() < 0.05


def test_it_is_normalised():
    """By the trapezium rule over the plane, which is exact for what is smooth and ends at zero."""
    q = stirred([False, False], by=0.15)().dist
    side = torch.linspace(-18.0, 18.0, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        total = sum(q.log_prob(part).exp().sum() for part in grid.split(200_000)) * (side[1] - side[0]) ** 2
    assert abs(float(total) - 1.0) < 2e-4  # splines have kinks in their second derivative


def test_a_fresh_flow_is_a_standard_normal_one():
    flow = SplineFlow(KINDS["mixed"])
    x = torch.randn(50, 5, generator=torch.Generator().manual_seed(1))
    exact = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(-1)
    assert torch.allclose(flow().log_prob(x), exact, atol=1e-4)


def test_a_circular_density_is_smooth_across_its_ends():
    """Of the angle, whose two ends are one place; beside it, the slope at the middle."""
    q = stirred([True, False], layers=6)().dist
    angle = math.pi * torch.tensor([-1 + 1e-9, 1 - 1e-9, -1e-9, 1e-9], dtype=torch.float64)
    u = math.sqrt(2) * torch.erfinv(angle / math.pi)
    x = torch.stack([u, torch.full_like(u, 0.7)], -1)
    with torch.no_grad():
        density = q.log_prob(x) + 0.5 * u.square()  # per angle, up to a constant
    assert abs(float(density[0] - density[1])) < 1e-4
    assert abs(float(density[2] - density[3])) < 1e-4


def test_zuko_leaves_the_validation_of_torch_alone():
    with pytest.raises(ValueError, match="constraint"):
        torch.distributions.Normal(0.0, -1.0)


def test_neighbouring_angles_see_each_other_in_every_layer():
    """What is common to phi and psi cannot be learned by layers that move both, or neither."""
    circular = [False] * 9 + [True, True, False, True, True, True]
    for layer in SplineFlow(circular, layers=6).layers:
        order: Any = layer.get_buffer("sort").argmax(0)
        kept = set(order[: len(circular) // 2].tolist())
        assert sorted(order.tolist()) == list(range(len(circular)))
        assert (9 in kept) != (10 in kept)
        assert (12 in kept) != (13 in kept)
