"""A device that is not there: tensors that say they are on it, and lie in the processor's memory.

What is computed with them is computed, so whole fits run, and end as on the processor: even random numbers are the
processor's. What no card would accept is refused: a tensor of the device beside one of the processor.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.fx.experimental import proxy_tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from bayescg import devices
from tests.gpu.same_draws import processors_generators

__all__ = ["emulated_device", "register"]

_NAME = "emulated"
_BETWEEN = {"aten::_to_copy", "aten::copy_", "aten::_copy_from"}
"""What goes from device to device."""
_INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
"""What takes the processor's integers as indices."""


_MAKERS = (
    "empty.memory_format", "empty_strided", "arange", "arange.start", "arange.start_step", "eye", "eye.m", "linspace",
    "randperm", "randperm.generator", "tril_indices", "triu_indices",
)  # fmt: skip
"""What makes a tensor without first making an empty one of its size."""
_KERNELS = torch.library.Library("aten", "IMPL")


class Emulated(Tensor):
    """A tensor that says it is on the device."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "Emulated":
        tensor = Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            values.stride(),
            values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(_NAME, 0),
        )
        tensor.values = values
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        _refuse_strays(func, (args, kwargs))
        inside, named = pytree.tree_map_only(Emulated, lambda v: v.values, (args, kwargs))
        device = kwargs.get("device")
        if device is not None and torch.device(device).type != _NAME:
            return func(*inside, **named)
        results = func(*inside, **(named if device is None else {**named, "device": torch.device("cpu")}))
        return return_and_correct_aliasing(func, args, kwargs, pytree.tree_map_only(Tensor, Emulated, results))

    def __repr__(self) -> str:
        return f"{_NAME}: {self.values!r}"


def _refuse_strays(func: Any, arguments: Any) -> None:
    name = func.name().partition(".")[0]
    if name in _BETWEEN:
        return
    scalars = torch.Tag.pointwise in func.tags or name in _INDEXED
    for v in pytree.tree_leaves(arguments):
        if not isinstance(v, Tensor) or isinstance(v, Emulated) or (v.dim() == 0 and scalars):
            continue
        if name not in _INDEXED or v.is_floating_point():
            raise RuntimeError(f"{func} on a device is handed a tensor of the processor, of shape {[*v.shape]}")


class _Lists(TorchFunctionMode):
    """What torch does for no tensor that is not its own."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(args[0].cpu()) if func is Tensor.tolist else func(*args, **(kwargs or {}))


@contextmanager
def emulated_device() -> Iterator[None]:
    """Inside, ``device="cuda"`` is a device that is emulated; `register` comes before."""
    named = SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: True),
        device=lambda name: torch.device(_NAME if name == "cuda" else name),
    )
    with (
        mock.patch.object(devices, "torch", named),
        mock.patch.object(proxy_tensor, "HANDLED_TYPES", (*proxy_tensor.HANDLED_TYPES, Emulated)),
        mock.patch("torch.__future__.get_overwrite_module_params_on_conversion", return_value=True),
        processors_generators(),
        _Lists(),
    ):
        yield


@cache
def register() -> None:
    """Make the device known to torch, for good, before the process's first backward pass."""
    _setup_privateuseone_for_python_backend(_NAME)
    for name in _MAKERS:
        _KERNELS.impl(name, partial(_made, _operation(name)), "PrivateUse1")
    _KERNELS.impl("_efficientzerotensor", partial(_made, torch.zeros), "PrivateUse1")
    _KERNELS.impl("_copy_from", _copy, "PrivateUse1")


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _made(operation: Any, *args: Any, device: Any = None, **more: Any) -> Tensor:
    return Emulated(operation(*args, **more))


def _copy(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    ends = [v.values if isinstance(v, Emulated) else v for v in (target, source)]
    ends[0].copy_(ends[1])
    return target
