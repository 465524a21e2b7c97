"""One step of a sampler as a function of tensors: run plainly, recorded, or compiled."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bayescg.recording.lowering import lower
from bayescg.recording.step_modes import step_in_mode
from bayescg.recording.tracing import traced
from bayescg.recording.unrecordable import Unrecordable, explained

__all__ = ["TensorStep", "prepare"]

TensorStep = Callable[..., Sequence[Tensor]]
"""From tensors to tensors, nothing else: random numbers come in as arguments."""

_COMPILE = 20_000
"""Calls from which on compiling, of 3 to 8 s, pays.

On one core a step of 10 000 chains in a double well took 1.0 ms plainly, 0.3 ms recorded and 0.03 ms compiled, of 200
chains 0.23, 0.13 and 0.006 ms; drawing its noise is apart. Numbers of calls decide, not a stop watch: the same call
gives the same result.
"""


def prepare(
    step: TensorStep,
    example: Sequence[Tensor],
    calls: int,
    mode: str,
    what: str = "the energy",
    compile_from: int = _COMPILE,
) -> TensorStep:
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
        ``"auto"`` records from 200 calls on and compiles from `compile_from` on, where there is a compiler.
    what : str
        What a warning blames where the step cannot be recorded.
    compile_from : int
        Fewer than by default where a step is dear.

    Examples
    --------
    >>> double = prepare(lambda x: (2 * x,), [torch.zeros(3)], calls=1000, mode="auto")
    >>> double(torch.ones(3))
    (tensor([2., 2., 2.]),)
    """

    def record() -> tuple[TensorStep, Callable[[], TensorStep]]:
        try:
            with torch.no_grad():
                # clones, because one tensor given twice would be recorded as one argument
                graph = traced(lambda *values: tuple(step(*values)), *(v.clone() for v in example))
            same = _agree(step, graph, example)
        except Exception as error:  # whatever a user's energy raises while it is recorded, the plain one can still run
            raise Unrecordable(explained(error)) from error
        if not same:
            raise Unrecordable(
                "recorded, it gives other numbers at other coordinates (it may branch on values, or use NumPy)"
            )

        def compile() -> TensorStep:
            compiled = lower(graph, list(example), inline_random=False)
            compiled(*example)
            return compiled

        return graph, compile

    device = example[0].device
    return step_in_mode(
        mode, calls, step, record, lambda recorded, compiled: compiled() if calls >= compile_from else recorded,
        device, what, stacklevel=4,
    ).run  # fmt: skip


def _agree(step: TensorStep, graph: TensorStep, example: Sequence[Tensor]) -> bool:
    """Whether the recording stands for the step at other arguments, too."""
    moved = [
        v.flip(0) + 0.01 * torch.sin(k + torch.arange(v.numel(), device=v.device, dtype=v.dtype)).view_as(v)
        for k, v in enumerate(example, start=1)
    ]
    with torch.no_grad():
        pairs = zip(step(*moved), graph(*moved), strict=True)
        return all(torch.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True) for a, b in pairs)
