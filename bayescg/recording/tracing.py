"""Recording by torch.fx of the tensor operations that a function does, and what depends on whether one is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx

__all__ = ["is_recording", "not_recorded", "traced"]

# make_fx and its modes are no public part of torch: imported where they are used, so that what runs plainly runs
# without them


def traced(function: Callable[..., Any], *example: Any) -> fx.GraphModule:
    """The tensor operations that a function does with arguments like these, in order."""
    from torch.fx.experimental.proxy_tensor import make_fx

    with _same_fake_mode():
        return make_fx(function)(*example)


@contextmanager
def _same_fake_mode() -> Iterator[None]:
    """Inside, make_fx describes all tensors in this mode, and makes none, with a stack trace, for every operation."""
    try:
        from torch._guards import TracingContext, tracing
        from torch._subclasses import FakeTensorMode
    except ImportError:
        yield
        return
    with tracing(TracingContext(FakeTensorMode())):
        yield


def is_recording() -> bool:
    """Whether what runs now is being recorded."""
    try:
        from torch.fx.experimental.proxy_tensor import get_proxy_mode
    except ImportError:
        return False
    return get_proxy_mode() is not None


@contextmanager
def not_recorded() -> Iterator[None]:
    """Inside, tensors are made that are constants of a recording under way."""
    try:
        from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
    except ImportError:
        yield
        return
    with disable_proxy_modes_tracing():
        yield
