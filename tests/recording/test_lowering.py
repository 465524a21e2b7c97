"""What is done to a recorded graph before inductor sees it: where oneDNN is used, and that the numbers stay."""

from collections import Counter

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from bayescg.inference.objectives import Program
from bayescg.modelling import Batch
from bayescg.modelling.model import check_programs, fresh_copy
from bayescg.models import PredictiveCV
from bayescg.recording import lowering
from bayescg.recording.functional import forward_mode, seeded
from bayescg.recording.lowering import _use_onednn, _write_tanh_out, can_compile, lower
from bayescg.recording.recorded import gradient_function, lift_noise, record

onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
compiler = pytest.mark.skipif(bool(can_compile(torch.device("cpu"))), reason="there is no C++ compiler")


def numbers(*shape: int, seed: int = 0, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


X, W, B = numbers(256, 100), numbers(120, 100, seed=1), numbers(120, seed=2)
G = numbers(256, 120, seed=3)
THIN = numbers(2, 100, seed=4)
LINEAR, TANH = "bayescg.linear.default none", "bayescg.linear.default tanh"
MM, ADDMM = "aten.mm.default", "aten.addmm.default"

# function, arguments, matrix products afterwards
PRODUCTS = {
    "bias": (lambda x, w, b: torch.addmm(b, x, w.T), (X, W, B), {LINEAR: 1}),
    "bias and tanh": (lambda x, w, b: torch.tanh(torch.addmm(b, x, w.T)), (X, W, B), {TANH: 1}),
    "tanh that another one reads beside": (
        lambda x, w, b: [torch.tanh(y := torch.addmm(b, x, w.T)), y.exp()], (X, 0.1 * W, B), {LINEAR: 1},
    ),
    "no bias": (lambda x, w: x @ w.T, (X, W), {LINEAR: 1}),
    "tanh without bias": (lambda x, w: torch.tanh(x @ w.T), (X, W), {TANH: 1}),
    "two layers": (
        lambda x, w, b: torch.addmm(x[0], torch.tanh(torch.addmm(b, x, w.T)), w), (X, W, B), {TANH: 1, LINEAR: 1},
    ),
    "gradient of the input": (lambda g, w: g @ w, (G, W), {LINEAR: 1}),
    "gradient of the weight": (lambda g, x: g.T @ x, (G, X), {LINEAR: 1}),
    "its transpose": (lambda g, x: (g.T @ x).T, (G, X), {LINEAR: 1}),
    "left of stride": (lambda x, w: x[::2] @ w.T, (numbers(512, 100), W), {LINEAR: 1}),
    "right of stride": (lambda x, w: x @ w[:, ::2], (G, numbers(120, 240, seed=5)), {LINEAR: 1}),
    "expanded": (lambda x, w: x[:1].expand(256, 100) @ w.T, (X, W), {LINEAR: 1}),
    "thin": (lambda x, w: x @ w.T, (X, THIN), {MM: 1}),
    "one column": (lambda x, w: x @ w.T, (X, THIN[:1]), {MM: 1}),
    "one large column": (lambda x, w: x @ w.T, (numbers(2048, 1000), numbers(1, 1000, seed=6)), {MM: 1}),
    "one large column with bias": (
        lambda x, w, b: torch.addmm(b, x, w.T), (numbers(2048, 1000), numbers(1, 1000, seed=6), B[:1]), {LINEAR: 1},
    ),
    "one row": (lambda x, w: x @ w.T, (numbers(1, 2000), numbers(1100, 2000, seed=7)), {LINEAR: 1}),
    "thin on the left": (lambda g, x: g.T @ x, (numbers(4096, 2), numbers(4096, 300, seed=8)), {LINEAR: 1}),
    "thin gradient of the weight": (lambda g, x: g.T @ x, (G, numbers(256, 2, seed=9)), {MM: 1}),
    "bias of another shape": (lambda x, w, g: torch.addmm(g, x, w.T), (X, W, G), {ADDMM: 1}),
    "scaled bias": (lambda x, w, b: torch.addmm(b, x, w.T, beta=0.5), (X, W, B), {ADDMM: 1}),
    "small": (lambda x, w, b: torch.tanh(torch.addmm(b, x, w.T)), (X[:64], W, B), {ADDMM: 1}),
    "double precision": (lambda x, w, b: torch.addmm(b, x, w.T), (X.double(), W.double(), B.double()), {ADDMM: 1}),
}  # fmt: skip


def products(graph: torch.fx.GraphModule) -> Counter[str]:
    found = Counter[str]()
    for node in graph.graph.nodes:
        name = str(node.target)
        if name.startswith("bayescg.linear"):
            name += f" {node.args[3]}"
        if "linear" in name or name in (MM, ADDMM):
            found[name] += 1
    return found


def recorded(function, arguments):
    with torch.no_grad():
        return make_fx(lambda *a: (lambda y: y if isinstance(y, list) else [y])(function(*a)))(*arguments)


@onednn
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_go_where_they_are_fast_and_stay_exact(name):
    """Beside double precision they are as good as torch's own, and lie in memory as they were recorded."""
    function, arguments, expected = PRODUCTS[name]
    graph = recorded(function, arguments)
    plain = graph(*arguments)
    exact = recorded(function, tuple(a.double() for a in arguments))(*(a.double() for a in arguments))
    _use_onednn(graph)
    assert products(graph) == expected
    graph.graph.lint()
    for ours, before, truth in zip(graph(*arguments), plain, exact, strict=True):
        assert float((ours - truth).norm()) <= 3 * float((before - truth).norm()) + 1e-7 * float(truth.norm())
        assert float((ours - truth).norm()) <= 1e-6 * float(truth.norm())
        assert ours.dtype == before.dtype
        assert ours.stride() == before.stride()


def a_step(batch: int):
    """Recorded gradients of a network of usual size, flat, its draws supplied; with its arguments."""
    with seeded(0):
        model = fresh_copy(PredictiveCV(latent_dim=2, hidden=(100, 100), dim=60))
        model.reset()
        x = numbers(batch, 60)
        names = check_programs(model, Batch(x=x, total=batch))
    program = Program(model, names)
    params = {k: v.detach().clone() for k, v in program.named_parameters()}
    buffers = {k: v.detach().clone() for k, v in program.named_buffers()}
    tensors = {"x": x, "weight": torch.ones(batch)}
    plain, _ = gradient_function(program, batch, float(batch), False, params, buffers, tensors)
    graph = record(plain, params, buffers, tensors)
    flat, noise, complete = lift_noise(lambda *a: list(graph(*a)[0].values()), (params, buffers, tensors))
    assert complete
    generator = torch.Generator().manual_seed(1)
    return flat, [*params.values(), *buffers.values(), x, tensors["weight"], *(n.draw(generator) for n in noise)]


@onednn
@pytest.mark.parametrize(("batch", "linear", "fused"), [(64, 0, 0), (1024, 8, 3)])
def test_large_batches_use_onednn(batch, linear, fused):
    """Three layers of 100 with their tanh, the one of 60, three gradients of inputs and four of weights.

    The layers that read two latent variables or return four numbers are smaller than two million products.
    """
    flat, arguments = a_step(batch)
    expected = torch.cat([g.flatten() for g in flat(*(a.double() for a in arguments))])
    _use_onednn(flat)
    found = products(flat)
    assert (found[LINEAR], found[TANH]) == (linear, fused)
    gradient = torch.cat([g.flatten() for g in flat(*arguments)])
    assert float((gradient - expected).norm()) < 1e-5 * float(expected.norm())


@onednn
@pytest.mark.parametrize(("at_home", "linear", "in_cpp"), [(True, 0, True), (False, 1, False)])
def test_products_stay_with_mkl_on_processors_of_its_maker(at_home, linear, in_cpp, monkeypatch):
    """And C++ calls them; those of oneDNN are no operation of torch's that it can call."""
    monkeypatch.setattr(lowering, "_mkl_at_home", lambda: at_home)
    monkeypatch.setattr("torch._inductor.compile", lambda graph, shapes, options: lambda: options)
    graph = recorded(lambda x, w: x @ w.T, (X, W))
    assert lower(graph, [X, W], inline_random=False)()["cpp_wrapper"] == in_cpp
    assert products(graph)[LINEAR] == linear


def test_linear_algebra_is_not_called_from_cpp(monkeypatch):
    monkeypatch.setattr("torch._inductor.compile", lambda graph, shapes, options: lambda: options)
    x = numbers(5, 5)
    graph = recorded(lambda v: torch.linalg.eigvalsh(v @ v.T), (x,))
    assert not lower(graph, [x], inline_random=False)()["cpp_wrapper"]


@compiler
def test_what_is_compiled_is_kept_for_later_processes(monkeypatch, tmp_path):
    """Kept in a folder, and taken from there when it is compiled again."""
    from torch._dynamo.utils import counters

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for event in ("fxgraph_cache_miss", "fxgraph_cache_hit"):
        counters.clear()
        lower(recorded(lambda x: x.exp() + 1, (X,)), [X], inline_random=False)
        assert counters["inductor"][event] == 1


def test_tanh_is_exact_to_a_few_roundings_of_its_value():
    x = torch.cat([torch.linspace(-12, 12, 10001), torch.linspace(-0.4, 0.4, 10001), torch.logspace(-30, 0, 1000)])
    graph = recorded(torch.tanh, (x,))
    _write_tanh_out(graph)
    assert not [n for n in graph.graph.nodes if n.target is torch.ops.aten.tanh.default]
    exact = torch.tanh(x.double())
    assert float(((graph(x)[0] - exact) / exact).nan_to_num().abs().max()) < 8e-7
    extreme = torch.tensor([-torch.inf, -100.0, 0.0, 100.0, torch.inf, torch.nan])
    assert torch.equal(graph(extreme)[0].nan_to_num(5.0), torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0, 5.0]))
    double = recorded(torch.tanh, (x.double(),))
    _write_tanh_out(double)
    assert torch.equal(double(x.double())[0], exact)


@compiler
def test_a_soft_clip_keeps_its_digits():
    x = torch.linspace(-3, 3, 1001)
    clip = lower(recorded(lambda v: 1000 * torch.tanh(v / 1000), (x,)), [x], inline_random=False)
    exact = 1000 * torch.tanh(x.double() / 1000)
    assert float((clip(x)[0] - exact).norm()) < 3e-7 * float(exact.norm())


@compiler
@pytest.mark.slow
def test_a_large_compiled_step_is_the_plain_one():
    flat, arguments = a_step(1024)
    expected = torch.cat([g.flatten() for g in flat(*(a.double() for a in arguments))])
    function = lower(flat, arguments, inline_random=False)
    with torch.no_grad():
        gradient = torch.cat([g.flatten() for g in function(*arguments)])
        again = torch.cat([g.flatten() for g in function(*arguments)])
    assert float((gradient - expected).norm()) < 1e-5 * float(expected.norm())
    assert torch.equal(gradient, again)


@compiler
def test_tangents_that_are_zero_have_memory_when_they_are_compiled():
    """Zeros of forward differentiation point nowhere: a compiled kernel that read them ended the process."""

    def energy(x, w):
        away = x[:, None] - x[None]
        away = away / (away.square().sum(-1, keepdim=True) + 1).sqrt()
        return torch.einsum("ijf,jf,ijk->ifk", w, w[0].sin(), away).square().sum()

    def change(x, w):
        with forward_mode():
            return torch.func.jvp(lambda v: energy(x, v), (w,), (w,))[1]

    arguments = numbers(2, 4, 3), numbers(2, 4, 4, 5, seed=1)
    step = lambda x, w: (torch.func.vmap(torch.func.grad(change))(x, w),)  # noqa: E731
    graph = make_fx(step)(*arguments)
    assert any("_efficientzerotensor" in str(node.target) for node in graph.graph.nodes)
    (compiled,) = lower(graph, list(arguments), inline_random=False)(*arguments)
    assert torch.allclose(compiled, step(*arguments)[0], rtol=1e-4, atol=1e-5)
