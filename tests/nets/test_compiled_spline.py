"""Splines in C++ beside those of torch operations, which zuko's are the judge of (test_spline_flow)."""

import ctypes

import pytest
import torch
from torch.func import grad, jvp, vmap

from bayescg.nets import compiled_spline as module
from bayescg.nets.compiled_spline import compiled_spline
from bayescg.nets.spline_flow import BOUND, SplineFlow, _plain_spline
from bayescg.recording.functional import forward_mode

pytestmark = pytest.mark.skipif(not isinstance(module._kernels(), ctypes.CDLL), reason=str(module._kernels()))


def compiled(x, knots, inverse):
    return compiled_spline(x, knots, BOUND, inverse, _plain_spline)


def sites(bins, wide=2.0, shape=(50, 3), seed=0):
    """Numbers, some of them beyond the bound, and knots; 150 are more than four tiles, and not a multiple of one."""
    generator = torch.Generator().manual_seed(seed)
    x = 3.0 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return x, wide * torch.randn(*shape, 3 * bins - 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(("bins", "wide"), [(2, 2.0), (6, 2.0), (16, 1.0), (5, 300.0)])
def test_values_and_derivatives_are_those_of_torch(bins, wide, inverse):
    found = []
    for spline in (compiled, _plain_spline):
        x, knots = (value.requires_grad_() for value in sites(bins, wide))
        value, ladj = spline(x, knots, inverse)
        found.append((value, ladj, *torch.autograd.grad((value.sin() + ladj * value).sum(), (x, knots))))
    for here, there in zip(*found, strict=True):
        assert float((here - there).detach().abs().max()) < 1e-9 * (1 + float(there.detach().abs().max()))


@pytest.mark.parametrize("inverse", [False, True])
def test_derivatives_to_second_order_are_those_of_the_values(inverse):
    leaves = tuple(value.requires_grad_() for value in sites(4, 1.0, (3, 2)))
    assert torch.autograd.gradcheck(lambda x, knots: compiled(x, knots, inverse), leaves, rtol=1e-4)
    assert torch.autograd.gradgradcheck(lambda x, knots: compiled(x, knots, inverse), leaves, rtol=1e-3)


@pytest.mark.parametrize("inverse", [False, True])
def test_it_goes_through_transforms_of_functions(inverse):
    x, knots = sites(5, shape=(4, 7, 3))
    dx, dk = sites(5, shape=(4, 7, 3), seed=1)

    def loss(spline):
        return lambda x, knots: sum(part.square().sum() for part in spline(x, knots, inverse))

    each = [vmap(grad(loss(spline), (0, 1)))(x, knots) for spline in (compiled, _plain_spline)]
    shared = [vmap(grad(loss(spline), 1), (None, 0))(x[0], knots) for spline in (compiled, _plain_spline)]
    with forward_mode():
        along = [jvp(lambda *v, s=s: s(*v, inverse), (x, knots), (dx, dk)) for s in (compiled, _plain_spline)]
        curved = [jvp(grad(loss(spline)), (x, knots), (dx, dk)) for spline in (compiled, _plain_spline)]
    for pair in (each, shared, along, curved):
        torch.testing.assert_close(*pair, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("inverse", [False, True])
def test_what_is_not_finite_stays_so(inverse):
    x, knots = sites(4, shape=(40, 2))
    knots[3, 1, 0], knots[7, 0, 10], knots[9, 0, 5], x[11, 1] = torch.nan, torch.nan, torch.inf, torch.nan
    good = torch.ones(40, 2, dtype=torch.bool)
    good[[3, 7, 9, 11], [1, 0, 0, 1]] = False
    leaves = x.requires_grad_(), knots.requires_grad_()
    value, ladj = compiled(*leaves, inverse)
    by_x, by_knots = torch.autograd.grad((value + ladj).sum(), leaves)
    assert torch.equal(value.isfinite(), good)
    assert bool(ladj[good].isfinite().all() & by_x[good].isfinite().all() & by_knots[good].isfinite().all())
    assert not by_knots[[3, 7, 9], [1, 0, 0]].isfinite().any()


def test_nothing_depends_on_threads_or_on_the_sites_around():
    x, knots = (value.float() for value in sites(6, shape=(400, 30)))
    threads, whole = torch.get_num_threads(), compiled(x, knots, False)
    try:
        torch.set_num_threads(3)
        others = compiled(x, knots, False)
    finally:
        torch.set_num_threads(threads)
    few = compiled(x[:7], knots[:7], False)
    for value, other, some in zip(whole, others, few, strict=True):
        assert torch.equal(value, other)
        assert torch.equal(value[:7], some)


def test_without_kernels_a_flow_is_the_same(monkeypatch):
    torch.manual_seed(3)
    flow = SplineFlow([False, True, False, True], layers=3, bins=4, hidden=(8,)).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(200, 4, dtype=torch.float64)
    fast = flow().log_prob(x)
    monkeypatch.setattr(module, "_kernels", lambda: "no compiler")
    plain = flow().log_prob(x)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)
    assert not torch.equal(fast, plain)  # or it was no other way
