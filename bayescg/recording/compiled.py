"""The gradients of a fit's step, plainly, recorded, or compiled."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bayescg.recording.functional import Params, seeded
from bayescg.recording.lowering import lower
from bayescg.recording.optimiser import clipped
from bayescg.recording.recorded import Gradients, Tensors, lift_noise, record
from bayescg.recording.step_modes import Step, step_in_mode

__all__ = ["Result", "compile_step"]

Result = tuple[Params, Tensor, Tensor, Params]
"""Clipped gradients, loss, 1 where either is not finite (else 0), and the buffers that the program has changed."""

_log = logging.getLogger("bayescg")

# What compiling costs in seconds, and what it takes off a recorded step: on the low side of what was measured for
# small networks on one core (tests/benchmarks), so that compiling is chosen where it surely pays.
_COMPILING = 15.0
_SAVED = 0.3


def compile_step(
    plain: Gradients,
    params: Params,
    buffers: Params,
    tensors: Tensors,
    *,
    members: bool,
    clip: float,
    mode: str,
    steps: int,
) -> Step:
    """The gradients of a step in the mode asked for, or in the nearest that is possible, saying why in the log.

    Recorded, a step is the program's tensor operations without a Python frame of Pyro's, bit for bit the plain one;
    where the recording differs from the program, or cannot be made, the program runs plainly and a warning names the
    line. Compiled, operations are fused and summed in another order: the same random numbers, equal up to rounding.
    On a GPU the compiled step is one CUDA graph, which holds on to the parameters, buffers and batches' places in
    memory: they must be changed in place.

    Parameters
    ----------
    plain : callable
        From `gradient_function`.
    params, buffers, tensors : dict of str to Tensor
        Example arguments; later ones have the same shapes.
    members : bool
        Whether there is a leading axis of members.
    clip : float
        Largest norm of a member's gradient.
    mode : {"auto", "inductor", "trace", "off"}
        ``"auto"`` compiles where the steps left, at the measured time of a recorded step, are long enough to pay.
    steps : int
        Steps left.

    Returns
    -------
    Step
        From (parameters, buffers, batch, seed) to a `Result`.

    Raises
    ------
    ConfigError
        Unknown mode.
    """
    device = next(iter(params.values())).device
    arguments = (params, buffers, tensors)

    def recorded() -> tuple[Callable[..., Result], Callable[[], Callable[..., Result]]]:
        graph = record(plain, *arguments)
        return _seeded(graph, clip, members, device), lambda: _compiled(graph, *arguments, clip, members, device)

    def best(traced: Step, compiled: Callable[[], Step]) -> Step:
        seconds = _seconds_a_step(traced, *arguments, device)
        why = f"{steps} steps of {1e3 * seconds:.3g} ms are left"
        if seconds * steps * _SAVED < _COMPILING:
            return replace(traced, why=f"{why}, too few to pay for compiling")
        fast = replace(compiled(), why=why)
        longer = _seconds_a_step(fast, *arguments, device) > seconds
        return replace(traced, why=f"{why}; compiled ones take longer") if longer else fast

    slow = _seeded(plain, clip, members, device)
    step = step_in_mode(mode, steps, slow, recorded, best, device, "the program", stacklevel=5)
    _log.info("compile=%r: %s (%s)", mode, step.mode, step.why)
    return step


def _seeded(function: Gradients, clip: float, members: bool, device: torch.device) -> Callable[..., Result]:
    def run(params: Params, buffers: Params, tensors: Tensors, seed: int) -> Result:
        with seeded(seed, device), torch.no_grad():
            grads, loss, moved = function(params, buffers, tensors)
            grads, bad = clipped(grads, loss, clip, members)
        return grads, loss, bad, moved

    return run


def _seconds_a_step(step: Step, params: Params, buffers: Params, tensors: Tensors, device: torch.device) -> float:
    seconds = []
    for _ in range(6):
        began = time.perf_counter()
        step.run(params, buffers, tensors, 0)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def _compiled(
    graph: Gradients,
    params: Params,
    buffers: Params,
    tensors: Tensors,
    clip: float,
    members: bool,
    device: torch.device,
) -> Callable[..., Result]:
    changed: list[str] = []

    def whole(params: Params, buffers: Params, tensors: Tensors) -> list[Tensor]:
        grads, loss, moved = graph(params, buffers, tensors)
        grads, bad = clipped(grads, loss, clip, members)
        changed[:] = moved
        return [loss, bad, *(grads[k] for k in params), *moved.values()]

    flat, noise, complete = lift_noise(whole, (params, buffers, tensors))
    generator = torch.Generator(device)
    generator.manual_seed(0)
    example = [*params.values(), *buffers.values(), *tensors.values(), *(n.draw(generator) for n in noise)]
    with torch.no_grad(), seeded(0, device):
        expected = flat(*example)
    function = lower(flat, example, inline_random=not complete)
    if complete:
        with torch.no_grad():
            _compare(expected, function(*example))
    if complete and device.type == "cuda":
        function = _replayed(function, example, len(params) + len(buffers))
    fields, count = list(tensors), len(params)

    def run(params: Params, buffers: Params, tensors: Tensors, seed: int) -> Result:
        generator.manual_seed(seed)
        arguments = [*params.values(), *buffers.values(), *(tensors[k] for k in fields)]
        arguments += [n.draw(generator) for n in noise]
        # what is drawn inside must not repeat the numbers that the supplied draws were made of
        with torch.no_grad(), nullcontext() if complete else seeded(seed + 1, device):
            loss, bad, *rest = function(*arguments)
        return dict(zip(params, rest, strict=False)), loss, bad, dict(zip(changed, rest[count:], strict=True))

    return run


def _compare(recorded: list[Tensor], compiled: list[Tensor]) -> None:
    a, b = (torch.cat([v.flatten() for v in values]).double() for values in (recorded, compiled))
    error = float((a - b).norm() / a.norm().clamp_min(1e-30))
    limit = 1e-4 if any(v.dtype == torch.float32 for v in recorded) else 1e-9
    if not error <= limit:
        raise ArithmeticError(f"compiled and recorded results differ by {error:.1e} of their norm")


def _replayed(function: Callable[..., Any], example: list[Tensor], kept: int) -> Callable[..., Any]:
    """One CUDA graph of a compiled function: its first `kept` arguments stay in place, the others are copied in."""
    fixed = example[:kept] + [v.clone() for v in example[kept:]]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), torch.no_grad():  # whatever allocates on first use must not do so in the graph
        for _ in range(3):
            function(*fixed)
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded), torch.no_grad():
        out = function(*fixed)

    def replay(*arguments: Tensor) -> list[Tensor]:
        for place, value in zip(fixed[kept:], arguments[kept:], strict=True):
            place.copy_(value)
        recorded.replay()
        return out

    return replay
