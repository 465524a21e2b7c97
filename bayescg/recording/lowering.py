"""Compiling a recorded graph with inductor: its options, the matrix products of oneDNN, and whether it can compile."""

from __future__ import annotations

import ctypes
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

__all__ = ["can_compile", "lower"]

_SMALL, _LARGE, _THIN = 100_000, 2_000_000, 8  # multiplications, and columns, where another way begins to pay


_library = torch.library.Library("bayescg", "FRAGMENT")
_library.define("linear(Tensor x, Tensor weight, Tensor? bias, str activation) -> Tensor")


@torch.library.impl(_library, "linear", "CPU")
def _(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")


@torch.library.register_fake("bayescg::linear")
def _(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def can_compile(device: torch.device) -> str:
    """Empty where inductor can compile for a device, else the reason why not."""
    try:
        from torch._inductor import cpp_builder, exc
    except ImportError as error:
        return f"torch has no inductor here ({error})"
    try:
        cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError, OSError):
        return "no working C++ compiler was found"
    if device.type == "cuda":
        try:
            from torch.utils._triton import has_triton
        except ImportError as error:
            return f"torch does not say whether Triton is installed ({error})"
        if not has_triton():
            return "Triton is not installed"
    return ""


def lower(graph: fx.GraphModule, example: list[Tensor], inline_random: bool) -> Callable[..., Any]:
    """Compile a flat graph without gradients; nothing of torch's global configuration changes.

    Parameters
    ----------
    graph : GraphModule
        Tensor operations of flat arguments; changed by this function.
    example : list of Tensor
        Arguments, whose shapes, types and device are compiled in.
    inline_random : bool
        Whether random operations are left in the graph; torch's own are then used for them.
    """
    from torch._inductor import compile
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    for node in graph.graph.nodes:  # a view fits the strides that it was recorded with, not those that are compiled
        if node.target in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
            node.target = torch.ops.aten.reshape.default
        elif node.target is torch.ops.aten._efficientzerotensor.default:  # of tangents: it has no memory to read
            node.target = torch.ops.aten.zeros.default
    graph.recompile()
    if example[0].device.type == "cpu":
        if not _mkl_at_home():
            _use_onednn(graph)
        _write_tanh_out(graph)
        _keep_memory()
    options = {
        "fallback_random": inline_random,
        # the compiler is trusted to know the instructions of the processor: to try it takes a third of the time
        "cpp.vec_isa_ok": True,
        # one file for the compiler, in place of one for each kernel: half the time
        "cpp_wrapper": example[0].device.type == "cpu" and _known_to_cpp(graph),
    }
    # inductor keeps what it compiles, for later processes too, only where shapes have an environment
    fake = FakeTensorMode(shape_env=ShapeEnv())
    shapes = [fake.from_tensor(v, static_shapes=True) for v in example]
    for place, shape in zip(graph.graph.find_nodes(op="placeholder"), shapes, strict=True):
        place.meta["val"] = shape  # where "cpp_wrapper" looks for them
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about torch's own code; where they are errors, nothing would compile
        return compile(graph, shapes, options=options)  # type: ignore[arg-type]


def _write_tanh_out(graph: fx.GraphModule) -> None:
    """Single-precision tanh by its exponential form, and by its series near 0, to 6e-7 of its value.

    Compiled, torch's own costs as much as a layer, and the exponential form alone loses small values, which come in as
    many digits as 1 has.
    """
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.tanh.default and node.meta["val"].dtype == torch.float32:
            with graph.graph.inserting_before(node):
                x: Any = fx.Proxy(node.args[0])
                s = x * x
                series = x + x * s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835))))
                whole: Any = torch.where(s < 0.04, series, 2 / (1 + torch.exp(-2 * x)) - 1)
                node.replace_all_uses_with(whole.node)
            graph.graph.erase_node(node)
    graph.recompile()


def _keep_memory() -> None:
    """Let glibc keep up to 256 MiB that a step frees for the next step, which else faults every page in anew."""
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, 32 * 2**20)
        libc.mallopt(trim_threshold, 256 * 2**20)


def _known_to_cpp(graph: fx.GraphModule) -> bool:
    """Whether C++ can call all operations: of linear algebra, and of other libraries, it calls Python for each."""
    operations = [node.target for node in graph.graph.nodes if hasattr(node.target, "namespace")]
    return all(f.namespace == "aten" and "linalg" not in str(f) for f in operations)


def _mkl_at_home() -> bool:
    """Whether products are MKL's on a processor of its maker, where it is faster than oneDNN at every size."""
    cpus = Path("/proc/cpuinfo")
    name = cpus.read_text() if cpus.is_file() else platform.processor()
    return torch.backends.mkl.is_available() and "GenuineIntel" in name


def _use_onednn(graph: fx.GraphModule) -> None:
    """Write matrix products as processors that are not Intel's are fastest with them; bare inductor takes MKL's.

    Large float32 ones go to oneDNN, with a tanh that follows, which on AMD's processors is twice as fast as MKL.
    Products with a few columns are taken transposed: both libraries want the longer side last.
    """
    aten, linear = torch.ops.aten, torch.ops.bayescg.linear.default
    onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")

    def call(target: Any, *arguments: Any, **named: Any) -> fx.Node:
        return graph.graph.call_function(target, arguments, named)

    def back(product: fx.Node) -> fx.Node:
        # contiguous, as what reads it was recorded with
        return call(aten.clone.default, call(aten.t.default, product), memory_format=torch.contiguous_format)

    for node in list(graph.graph.nodes):
        if node.target not in (aten.mm.default, aten.addmm.default) or node.kwargs:
            continue
        *bias, left, right = node.args
        (m, k), n = left.meta["val"].shape, right.meta["val"].shape[1]
        size = m * k * n
        large = onednn and size >= _LARGE and node.meta["val"].dtype == torch.float32
        if bias and (not large or bias[0].meta["val"].shape != (n,)):
            continue
        replaced = node
        with graph.graph.inserting_before(node):
            if not bias and n < _THIN < m and size >= _SMALL:
                product = back(call(aten.mm.default, call(aten.t.default, right), call(aten.t.default, left)))
            elif large and not bias and k > m > n:
                product = back(call(linear, call(aten.t.default, right), left, None, "none"))
            elif large:
                readers = list(node.users)
                tanh = len(readers) == 1 and readers[0].target is aten.tanh.default
                replaced = readers[0] if tanh else node
                columns = call(aten.t.default, right)
                product = call(linear, left, columns, bias[0] if bias else None, "tanh" if tanh else "none")
            else:
                continue
        product.meta = dict(replaced.meta)
        replaced.replace_all_uses_with(product)
        graph.graph.erase_node(replaced)
        if replaced is not node:
            graph.graph.erase_node(node)
    graph.recompile()
