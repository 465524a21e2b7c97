"""The processor's random numbers on any device, so that what runs there can be held against what runs here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["processors_generators", "same_draws"]


class _Generator(torch.Generator):
    """One of the processor, whatever the device."""

    def __new__(cls, device: Any = None) -> torch.Generator:
        return super().__new__(cls)


def processors_generators() -> Any:
    """Context in which every new generator is the processor's."""
    return mock.patch("torch.Generator", _Generator)


class _Draws(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        places = [v.device for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, Tensor)]
        places += [torch.device(kwargs["device"])] if kwargs.get("device") is not None else []
        if torch.Tag.nondeterministic_seeded not in func.tags or all(place.type == "cpu" for place in places):
            return func(*args, **kwargs)
        here = pytree.tree_map_only(Tensor, lambda v: v.cpu(), (args, kwargs))
        here[1].update({"device": torch.device("cpu")} if "device" in kwargs else {})
        values = func(*here[0], **here[1])
        if func._schema.is_mutable:
            return args[0].copy_(values)
        return pytree.tree_map_only(Tensor, lambda v: v.to(places[-1]), values)


@contextmanager
def same_draws() -> Iterator[None]:
    """Inside, what is drawn on another device is drawn on the processor and moved there."""
    with processors_generators(), _Draws():
        yield
