"""Splines of a flow by compiled C++ as differentiable operators: ``bayescg::spline`` and its derivative.

A custom operator survives tracing and compilation as one opaque node, where the operations of a spline and of its
derivative are some three hundred. Derivatives of the derivative, and along a direction, come from torch operations.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bayescg.kernels import library

__all__ = ["Plain", "compiled_spline"]

Plain = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]]
"""From numbers (...), knots (..., 3 bins - 1) and whether it is the inverse to values and logs of slopes, (...)."""


def compiled_spline(x: Tensor, knots: Tensor, bound: float, inverse: bool, plain: Plain) -> tuple[Tensor, Tensor]:
    """Values of splines, or of their inverses, and logs of the slopes there.

    Parameters
    ----------
    x : Tensor, shape (...)
    knots : Tensor, shape (..., 3 bins - 1)
        Logs of widths and heights, up to constants, and of the slopes between the bins.
    bound : float
        Beyond which nothing moves.
    inverse : bool
    plain : callable
        The same by torch operations, for devices and precisions without kernels.
    """
    if not isinstance(_kernels(), ctypes.CDLL) or x.device.type != "cpu" or x.dtype not in _NAMES:
        return plain(x, knots, inverse)
    knots = knots.expand(*x.shape, -1)
    return _Spline.apply(x, knots, bound, inverse, plain)


_NAMES = {torch.float32: "float", torch.float64: "double"}


def _kernels() -> ctypes.CDLL | str:
    return library("spline", "splines of flows come from torch operations, which are slower")


def _call(name: str, arrays: list[Tensor], outputs: list[Tensor], bound: float, inverse: bool) -> None:
    """Let the kernel `name` fill `outputs`; the first two arrays are numbers and knots."""
    x, knots = arrays[:2]
    function = getattr(_kernels(), f"{name}_{_NAMES[x.dtype]}")
    arrays = [array.contiguous() for array in arrays]
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (*arrays, *outputs))
    bins, threads = (knots.shape[-1] + 1) // 3, torch.get_num_threads()
    counts = (ctypes.c_int64(n) for n in (int(inverse), threads))
    if function(*pointers, ctypes.c_int64(x.numel()), ctypes.c_int64(bins), ctypes.c_double(bound), *counts):
        raise MemoryError("no memory is left for splines: use fewer threads")


@torch.library.custom_op("bayescg::spline", mutates_args=())
def _spline(x: Tensor, knots: Tensor, bound: float, inverse: bool) -> tuple[Tensor, Tensor]:
    value, ladj = (torch.empty(x.shape, dtype=x.dtype) for _ in range(2))
    _call("spline", [x, knots], [value, ladj], bound, inverse)
    return value, ladj


@torch.library.custom_op("bayescg::spline_gradient", mutates_args=())
def _gradient(
    x: Tensor, knots: Tensor, by_value: Tensor, by_ladj: Tensor, bound: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    by_x, by_knots = torch.empty(x.shape, dtype=x.dtype), torch.empty(knots.shape, dtype=x.dtype)
    _call("spline_gradient", [x, knots, by_value, by_ladj], [by_x, by_knots], bound, inverse)
    return by_x, by_knots


@_spline.register_fake
def _(x: Tensor, knots: Tensor, bound: float, inverse: bool) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


@_gradient.register_fake
def _(
    x: Tensor, knots: Tensor, by_value: Tensor, by_ladj: Tensor, bound: float, inverse: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(knots.shape)


def _batched(operator: Callable[..., Any]) -> Callable[..., Any]:
    """The operator over one dimension more: sites are independent."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        moved = [
            value if not isinstance(value, Tensor)
            else value.expand(info.batch_size, *value.shape) if dim is None
            else value.movedim(dim, 0)
            for value, dim in zip(arguments, in_dims, strict=True)
        ]  # fmt: skip
        return operator(*moved), (0, 0)

    return rule


_spline.register_vmap(_batched(_spline))
_gradient.register_vmap(_batched(_gradient))


class _Spline(torch.autograd.Function):
    """The derivatives of the operator. Those that an operator registers itself do not work inside torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, knots: Tensor, bound: float, inverse: bool, plain: Plain) -> tuple[Tensor, Tensor]:
        return _spline(x, knots, bound, inverse)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, knots, *ctx.rest = inputs
        ctx.save_for_backward(x, knots)
        ctx.save_for_forward(x, knots)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return *_Gradient.apply(*ctx.saved_tensors, *grads, *ctx.rest), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor]:
        _, inverse, plain = ctx.rest
        return _along(lambda x, knots: plain(x, knots, inverse), ctx.saved_tensors, tangents[:2])


class _Gradient(torch.autograd.Function):
    """The derivative, and its own by torch operations."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, knots: Tensor, by_value: Tensor, by_ladj: Tensor, bound: float, inverse: bool, plain: Plain
    ) -> tuple[Tensor, Tensor]:
        return _gradient(x, knots, by_value, by_ladj, bound, inverse)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, _, inverse, plain = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

        def pulled(x: Tensor, knots: Tensor, *grads: Tensor) -> tuple[Tensor, Tensor]:
            pull_back: Any = torch.func.vjp(lambda x, knots: plain(x, knots, inverse), x, knots)[1]
            return pull_back(grads)

        ctx.pulled = pulled

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pull_back: Any = torch.func.vjp(ctx.pulled, *ctx.saved_tensors)[1]
        return *pull_back(grads), None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor]:
        return _along(ctx.pulled, ctx.saved_tensors, tangents[:4])


def _along(function: Callable[..., Any], at: tuple[Tensor, ...], tangents: tuple[Tensor | None, ...]) -> Any:
    steps = tuple(torch.zeros_like(x) if t is None else t for x, t in zip(at, tangents, strict=True))
    return torch.func.jvp(function, at, steps)[1]
