"""Modules as pure functions of their parameters, and of their random numbers."""

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

__all__ = [
    "Params",
    "attempted",
    "attribute",
    "buffers_kept",
    "call_with",
    "forward_mode",
    "functional_random",
    "mixed_seed",
    "one_by_one",
    "over",
    "seeded",
    "state_of",
]

Params = dict[str, Tensor]


def state_of(module: nn.Module) -> Params:
    """Detached parameters and buffers of a module by name."""
    return {k: v.detach() for k, v in (*module.named_parameters(), *module.named_buffers())}


def attribute(module: nn.Module, name: str) -> Tensor:
    """Parameter by dotted name, also where a functional call has put a plain tensor in its place."""
    return reduce(getattr, name.split("."), module)  # type: ignore[return-value]


def call_with(module: nn.Module, params: Params, function: Callable[..., Any], *args: Any) -> Any:
    """``function(module, *args)`` while `module` has the given parameters and buffers, which are left as they are."""
    changing = {k for k, _ in module.named_buffers()}
    state = {f"inner.{k}": v.clone() if k in changing else v for k, v in params.items()}
    return functional_call(_Apply(module, function), state, args)


@contextmanager
def buffers_kept(module: nn.Module) -> Iterator[None]:
    """What is done inside to the buffers of a module, in place or by assignment, is undone."""
    before = [(m, k, v, v.clone()) for m in module.modules() for k, v in m.named_buffers(recurse=False)]
    try:
        yield
    finally:
        with torch.no_grad():
            for owner, name, buffer, value in before:
                setattr(owner, name, buffer.copy_(value))


class _Apply(nn.Module):
    def __init__(self, inner: nn.Module, function: Callable[..., Any]):
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, *args: Any) -> Any:
        return self.function(self.inner, *args)


@contextmanager
def forward_mode() -> Iterator[None]:
    """Around derivatives in forward mode, which still go through torch.jit: its advice is not about the user's code.

    It is a DeprecationWarning of some versions and a FutureWarning, which people are shown, of others.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit")
        yield


def _uniform(t: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand_like(t)


_FUNCTIONAL: dict[Callable[..., Any], Callable[..., Tensor]] = {
    torch.Tensor.normal_: torch.randn_like,
    torch.Tensor.uniform_: _uniform,
    # never 0, whose logarithm somebody may take
    torch.Tensor.exponential_: lambda t: -torch.log1p(-torch.rand_like(t).clamp_min(torch.finfo(t.dtype).tiny)),
    torch.Tensor.cauchy_: lambda t: torch.tan(torch.pi * (torch.rand_like(t) - 0.5)),
}


class _FunctionalRandom(TorchFunctionMode):
    # torch.distributions fills fresh tensors in place, which vmap cannot batch, and goes on with what is returned;
    # a program of a user's may go on with the tensor that it has filled
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _FUNCTIONAL and sys._getframe(1).f_globals["__name__"].startswith("torch.distributions"):
            return _FUNCTIONAL[func](*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


@contextmanager
def functional_random() -> Iterator[None]:
    """Inside, torch's distributions draw by functions without side effects, so that vmap can batch them."""
    with _FunctionalRandom():
        yield


def over(function: Callable[..., Any], in_dims: Any = 0, same_draws: bool = False) -> Callable[..., Any]:
    """`function` over the leading axis of its arguments at once, or one after the other where `vmap` cannot.

    It cannot where a program branches on its values, reads one as a Python number, or calls `torch.autograd.grad`.

    Parameters
    ----------
    function : callable
        From nested dictionaries and tuples of tensors to such.
    in_dims : int or nested
        As for `torch.func.vmap`: 0 where there is the axis, None where there is none.
    same_draws : bool
        Whether all see the same random numbers.
    """
    together = vmap(function, in_dims, randomness="same" if same_draws else "different")
    return attempted(together, one_by_one(function, in_dims, same_draws))


def attempted(first: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """`first`, or `otherwise` where torch refuses it; an error of the caller's own is then raised by the second."""

    def run(*arguments: Any) -> Any:
        try:
            return first(*arguments)
        except RuntimeError:
            return otherwise(*arguments)

    return run


def one_by_one(function: Callable[..., Any], in_dims: Any, same_draws: bool = False) -> Callable[..., Any]:
    """What `vmap` of `function` gives, by a loop; arguments as in `over`."""

    def run(*arguments: Any) -> Any:
        leaves, spec = pytree.tree_flatten(arguments)
        dims = pytree.tree_leaves(in_dims, is_leaf=lambda d: d is None)
        dims = dims * len(leaves) if isinstance(in_dims, int) else dims
        results, devices = [], [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
        count = next(len(v) for v, d in zip(leaves, dims, strict=True) if d is not None)
        for i in range(count):
            row = [v if d is None else v[i] for v, d in zip(leaves, dims, strict=True)]
            with torch.random.fork_rng(devices, enabled=same_draws and i < count - 1):
                results.append(function(*pytree.tree_unflatten(row, spec)))
        return pytree.tree_map(lambda *rows: torch.stack(rows), *results)

    return run


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, torch's generators start from `seed` and Pyro does not validate; both are put back afterwards."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), pyro.validation_enabled(False):
        # torch.manual_seed formats a stack trace for each kind of device that is absent: half a millisecond
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed(seed)
        yield


def mixed_seed(*parts: int) -> int:
    """One seed from several, without collisions in practice."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "little")
