"""One step of a sampler as a function of tensors: run plainly, recorded, or compiled."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bayescg.errors import ConfigError
from bayescg.recording.lowering import can_compile, lower

__all__ = ["MODES", "Step", "check_mode", "prepare"]

MODES = ("auto", "inductor", "trace", "off")

Step = Callable[..., Sequence[Tensor]]
"""From tensors to tensors, nothing else: random numbers come in as arguments."""

# Recording takes about 0.2 s, compiling 3 to 8 s. On one core a step of 10 000 chains in a double well took 1.0 ms
# plainly, 0.3 ms recorded and 0.03 ms compiled, of 200 chains 0.23, 0.13 and 0.006 ms; drawing its noise is apart.
# Numbers of calls decide, not a stop watch: the same call gives the same result.
_RECORD, _COMPILE = 200, 20_000


def check_mode(mode: str) -> None:
    """Refuse a mode of compilation that is unknown.

    Raises
    ------
    ConfigError
    """
    if mode not in MODES:
        raise ConfigError(f"compile={mode!r} is not known; use one of {', '.join(MODES)}")


def prepare(step: Step, example: Sequence[Tensor], calls: int, mode: str) -> Step:
    """The step in the mode asked for, or the nearest that is possible.

    Recorded, it is the same tensor operations without Python's share, bit for bit the plain step. Compiled, operations
    are fused: equal up to rounding, and reproducible in themselves.

    Parameters
    ----------
    step : callable
        A pure function of tensors, without gradients.
    example : sequence of Tensor
        Arguments; later ones have the same shapes, types and device.
    calls : int
        How often it will be called, about.
    mode : {"auto", "inductor", "trace", "off"}
        ``"auto"`` records from 200 calls on and compiles from 20 000 on, where there is a compiler.

    Examples
    --------
    >>> double = prepare(lambda x: (2 * x,), [torch.zeros(3)], calls=1000, mode="auto")
    >>> double(torch.ones(3))
    (tensor([2., 2., 2.]),)
    """
    check_mode(mode)
    if mode == "off" or (mode == "auto" and calls < _RECORD):
        return step
    try:
        with torch.no_grad():
            # clones, because one tensor given twice would be recorded as one argument
            graph: Any = make_fx(lambda *values: tuple(step(*values)))(*(v.clone() for v in example))
        same = _agree(step, graph, example)
    except Exception as error:  # whatever a user's energy raises while it is recorded, the plain one can still run
        warnings.warn(f"the energy cannot be recorded, its steps run plainly: {_first_line(error)}", stacklevel=4)
        return step
    if not same:
        warnings.warn(
            "the energy cannot be recorded, its steps run plainly: recorded, it gives other numbers at other "
            "coordinates (it may branch on values, or use NumPy)",
            stacklevel=4,
        )
        return step
    if mode == "trace" or (mode == "auto" and calls < _COMPILE):
        return graph
    missing = can_compile(example[0].device)
    if missing:
        if mode == "inductor":
            warnings.warn(f"compile='inductor' is not possible, the recording runs as it is: {missing}", stacklevel=4)
        return graph
    try:
        compiled = lower(graph, list(example), inline_random=False)
        compiled(*example)
    except Exception as error:  # a compiler may fail in ways of its own
        warnings.warn(f"inductor cannot compile the energy, it runs recorded: {_first_line(error)}", stacklevel=4)
        return graph
    return compiled


def _agree(step: Step, graph: Step, example: Sequence[Tensor]) -> bool:
    """Whether the recording stands for the step at other arguments, too."""
    moved = [
        v.flip(0) + 0.01 * torch.sin(k + torch.arange(v.numel(), device=v.device, dtype=v.dtype)).view_as(v)
        for k, v in enumerate(example, start=1)
    ]
    with torch.no_grad():
        pairs = zip(step(*moved), graph(*moved), strict=True)
        return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True) for a, b in pairs)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
