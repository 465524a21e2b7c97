"""Energies that torch does not compute as a differentiable operator: ``bayescg::force_field``.

A custom operator survives tracing and compilation as one opaque node. Its derivative is the force that was computed
along with the energy; the derivative of that force comes from the torch energy, where there is one.
"""

import itertools
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["force_field", "register"]


class Evaluator(Protocol):
    """What the operator needs of a force field."""

    def compiled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (n,) and forces (n, atoms, 3) of frames (n, atoms, 3)."""
        ...

    def plain(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """The torch energy for positions like `x`."""
        ...


_KEYS = itertools.count()
_FIELDS: "weakref.WeakValueDictionary[int, Evaluator]" = weakref.WeakValueDictionary()


def register(field: Evaluator) -> int:
    """Number by which the operator finds a force field: a graph can carry a number, not an object."""
    key = next(_KEYS)
    _FIELDS[key] = field
    return key


def force_field(x: Tensor, key: int) -> tuple[Tensor, Tensor]:
    """Energies (n,) in kJ/mol and forces (n, atoms, 3) in kJ/mol/nm of positions (n, atoms, 3) in nm.

    Both are differentiable in `x`.
    """
    return _Differentiable.apply(x, key)


@torch.library.custom_op("bayescg::force_field", mutates_args=())
def _force_field(x: Tensor, key: int) -> tuple[Tensor, Tensor]:
    return _FIELDS[key].compiled(x)


@_force_field.register_fake
def _(x: Tensor, key: int) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[:1]), torch.empty_like(x, memory_format=torch.contiguous_format)


@_force_field.register_vmap
def _(
    info: Any, in_dims: tuple[int | None, None], x: Tensor, key: int
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    stacked = x.movedim(in_dims[0] or 0, 0)
    energy, force = _force_field(stacked.flatten(0, 1), key)
    return (energy.unflatten(0, stacked.shape[:2]), force.unflatten(0, stacked.shape[:2])), (0, 0)


class _Differentiable(torch.autograd.Function):
    """The derivatives of the operator. Those that an operator registers itself do not work inside torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, key: int) -> tuple[Tensor, Tensor]:
        return _force_field(x, key)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.key = inputs[1]
        ctx.save_for_backward(inputs[0], output[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        energy_grad, force_grad = grads
        x, force = ctx.saved_tensors
        total = None if energy_grad is None else -energy_grad[:, None, None] * force
        if force_grad is not None:
            energy = _FIELDS[ctx.key].plain(x)
            pull_back: Any = torch.func.vjp(torch.func.grad(lambda y: energy(y).sum()), x)[1]
            curvature = pull_back(force_grad)[0]
            total = -curvature if total is None else total - curvature
        return total, None
