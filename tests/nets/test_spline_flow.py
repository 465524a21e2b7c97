"""Spline flows are bijections whose densities are exact, on lines and circles."""

import math
from typing import Any

import pytest
import torch

from bayescg.nets import SplineFlow
from bayescg.nets.spline_flow import _Spline

KINDS = {
    "linear": [False] * 4,
    "circular": [True] * 3,
    "mixed": [False, True, False, True, False],
    "one": [False],
    "one circular": [True],
}

STORED = {"squares": 27.88124715583813, "log_prob": [-16.994902413425308, -23.07642609311249, -23.588194876521513]}


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


@pytest.mark.parametrize("wide", [0.1, 3.0, 1e3])
def test_the_knots_of_a_spline_are_those_of_zuko(wide):
    """Both in double precision, to rounding, of parameters that nearly all bins have been squeezed by, too."""
    from zuko.transforms import MonotonicRQSTransform

    torch.manual_seed(0)
    knots = (wide * torch.randn(50, 3, 23, dtype=torch.float64)).split([8, 8, 7], -1)
    ours, theirs = _Spline(*knots, bound=5.0), MonotonicRQSTransform(*knots, bound=5.0)
    for name in ("horizontal", "vertical", "derivatives"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-13, atol=1e-13)
    x = torch.linspace(-6.0, 6.0, 150, dtype=torch.float64).view(50, 3)
    for here, there in zip(ours.call_and_ladj(x), theirs.call_and_ladj(x), strict=True):
        torch.testing.assert_close(here, there, rtol=1e-12, atol=1e-12)


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


@pytest.mark.parametrize("kind", KINDS)
def test_each_row_of_a_context_has_its_own_density(kind):
    """The base's times the Jacobian, the inverse of the one that samples."""
    flow = stirred(KINDS[kind], context=2)
    contexts = torch.tensor([[0.0, 0.0], [1.0, -2.0], [-0.5, 3.0]], dtype=torch.float64)
    q: Any = flow(contexts).dist
    with torch.no_grad():
        x, log_prob = q.rsample_and_log_prob((4,))
        assert (q.transform.inv(q.transform(x)) - x).abs().max() < 1e-8
        assert (q.log_prob(x) - log_prob).abs().max() < 1e-8
    for row, context in enumerate(contexts):
        single: Any = flow(context).dist
        for point, density in zip(x[:, row], log_prob[:, row], strict=True):
            jacobian = torch.autograd.functional.jacobian(single.transform, point)
            exact = single.base.log_prob(single.transform(point)) + torch.linalg.slogdet(jacobian)[1]
            assert abs(float(exact.detach() - density)) < 1e-8
    assert (q.log_prob(x[:, :1]) - q.log_prob(x[:, :1])[:, :1])[:, 1:].abs().min() > 1e-3  # the context is read


@pytest.mark.parametrize("context", [0, 2])
def test_it_is_normalised(context):
    """By the trapezium rule over the plane, which is exact for what is smooth and ends at zero."""
    flow = stirred([False, False], by=0.15, context=context)
    side = torch.linspace(-18.0, 18.0, 361, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    for row in ([0.0, 0.0], [2.0, -3.0])[: 2 if context else 1]:
        q = flow(torch.tensor(row, dtype=torch.float64) if context else None)
        with torch.no_grad():
            total = sum(q.log_prob(part).exp().sum() for part in grid.split(200_000)) * (side[1] - side[0]) ** 2
        assert abs(float(total) - 1.0) < 2e-4  # splines have kinks in their second derivative


def test_a_circle_is_normalised_for_each_context():
    """Of the angle, by the rectangle rule."""
    flow = stirred([True], context=1)
    angle = math.pi * (2 * torch.arange(40_000, dtype=torch.float64) + 1 - 40_000) / 40_000
    u = (math.sqrt(2) * torch.erfinv(angle / math.pi))[:, None, None]
    contexts = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    with torch.no_grad():
        density = (flow(contexts).log_prob(u) + 0.5 * u.square().squeeze(-1)).exp() / math.sqrt(2 * math.pi)
    assert density.shape == (40_000, 3)
    assert (2 * math.pi * density.mean(0) - 1).abs().max() < 1e-4
    assert (density[:, 0] - density[:, 2]).abs().max() > 0.01


def test_a_flow_begins_as_a_plain_one_whatever_the_context():
    for kind in KINDS.values():
        plain, given = stirred(kind), stirred(kind, context=3)
        given.begin_from(plain)
        context = torch.tensor([[0.0, 0.0, 0.0], [3.0, -50.0, 7.0]], dtype=torch.float64)
        with torch.no_grad():
            x = plain()((20,))
            assert (given(context).log_prob(x[:, None]) - plain().log_prob(x)[:, None]).abs().max() < 1e-10


def test_a_flow_that_forgets_its_context_has_one_density_and_learns_anew():
    flow = stirred(KINDS["mixed"], context=3)
    flow.forget_context()
    x, context = flow(torch.zeros(3, dtype=torch.float64))((5,)), torch.randn(5, 3, dtype=torch.float64)
    zero = flow(torch.zeros(5, 3, dtype=torch.float64)).log_prob(x)
    with torch.no_grad():
        assert (flow(context).log_prob(x) - zero).abs().max() < 1e-12
    flow(context).log_prob(x.detach()).sum().backward()
    gradients = [p.grad for name, p in flow.named_parameters() if name.endswith("net.0.weight")]
    assert all(g is not None and g[:, -3:].abs().max() > 0 for g in gradients)


def test_a_flow_without_context_is_as_it_ever_was():
    """To rounding of numbers that were stored before there were contexts; its fresh weights are the same, too."""
    torch.manual_seed(0)
    flow = SplineFlow(KINDS["mixed"], layers=4, bins=5, hidden=(16,))
    assert (
        abs(
            float(torch.cat([p.detach().flatten() for p in flow.parameters()]).double().square().sum())
            - STORED["squares"]
        )
        < 1e-6
    )
    flow = flow.double()
    with torch.no_grad():
        for number, p in enumerate(flow.parameters()):
            p.copy_(0.4 * torch.sin(1.7 * torch.arange(p.numel(), dtype=p.dtype) + number).view(p.shape))
        log_prob = flow().log_prob(torch.linspace(-2.0, 2.0, 15, dtype=torch.float64).view(3, 5))
    assert (log_prob - torch.tensor(STORED["log_prob"], dtype=torch.float64)).abs().max() < 1e-12


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
