"""Loss and gradients of a program as one flat tensor graph, with Pyro traced away."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from bayescg.errors import ConfigError
from bayescg.inference.batch import Batch
from bayescg.inference.functional import Params, functional_random, seeded
from bayescg.inference.objectives import Program

__all__ = ["MODES", "Tensors", "loss_and_gradients", "loss_only"]

MODES = ("auto", "trace", "off")

Tensors = dict[str, Tensor]
"""Fields of a `Batch` by name; ``weight`` has a leading axis of members where there are members."""

Step = Callable[[Params, Tensors], tuple[Params, Tensor]]


def loss_only(program: Program, total: int, total_weight: float, members: bool) -> Callable[[Params, Tensors], Tensor]:
    """Loss of every member, ``(members,)`` or a scalar, as a function of parameters and batch."""
    return _over_members(_pure(program, _buffers(program), total, total_weight), members)


def loss_and_gradients(
    program: Program,
    total: int,
    total_weight: float,
    members: bool,
    params: Params,
    tensors: Tensors,
    mode: str,
) -> tuple[Step, str]:
    """Function of (parameters, batch) that returns gradients and loss, and the mode it runs in.

    Traced, it replays the recorded tensor operations without a Python frame of Pyro's. The recording is compared with
    the plain program at other parameters, another batch order and another seed; where they differ, or where the
    program cannot be recorded, the plain one is used and a warning says why.

    Parameters
    ----------
    program : Program
    total, total_weight : int, float
        Number of frames of the data set and the sum of their weights.
    members : bool
        Whether parameters and weights have a leading axis of members trained side by side.
    params, tensors : dict of str to Tensor
        Example arguments; later ones have the same shapes.
    mode : {"auto", "trace", "off"}

    Raises
    ------
    ConfigError
        Unknown mode.
    """
    if mode not in MODES:
        raise ConfigError(f"compile={mode!r} is not known; use one of {', '.join(MODES)}")
    plain = _over_members(grad_and_value(_pure(program, _buffers(program), total, total_weight)), members)
    if mode == "off":
        return plain, "off"
    try:
        with seeded(0), functional_random():
            graph = make_fx(plain)(params, tensors)
        mismatch = _mismatch(plain, graph, params, tensors)
    except Exception as error:  # whatever a user's program raises while it is recorded, the plain one can still run
        mismatch = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if mismatch:
        warnings.warn(f"the program runs plainly, because its recording cannot be used: {mismatch}", stacklevel=3)
        return plain, "off"
    return graph, "trace"


def _buffers(program: Program) -> Params:
    return {k: v.detach() for k, v in program.named_buffers()}


def _pure(program: Program, buffers: Params, total: int, total_weight: float) -> Callable[[Params, Tensors], Tensor]:
    def loss(params: Params, tensors: Tensors) -> Tensor:
        return functional_call(program, {**params, **buffers}, (Batch(**tensors, total=total), total_weight))

    return loss


def _over_members(function: Callable, members: bool) -> Callable:
    def run(params: Params, tensors: Tensors):
        with functional_random():
            if not members:
                return function(params, tensors)
            axes = {k: 0 if k == "weight" else None for k in tensors}
            return vmap(function, in_dims=(0, axes), randomness="different")(params, tensors)

    return run


def _mismatch(plain: Step, graph: Step, params: Params, tensors: Tensors) -> str:
    perturbed = {
        k: v + 0.01 * torch.sin(torch.arange(v.numel(), device=v.device, dtype=v.dtype)).view_as(v)
        for k, v in params.items()
    }
    moved = {k: v.roll(1, -1) if k == "weight" else v.flip(0) for k, v in tensors.items()}
    outcomes = []
    for run in (plain, graph):
        with seeded(12345), torch.no_grad():
            outcomes.append(run(perturbed, moved))
    (grads, loss), (grads_traced, loss_traced) = outcomes
    if not torch.allclose(loss, loss_traced, rtol=1e-6, atol=0, equal_nan=True):
        return "its loss differs from the plain one at other parameters, another batch and another seed"
    for name, g in grads.items():
        if not torch.allclose(g, grads_traced[name], rtol=1e-4, atol=1e-6 * float(g.abs().max()), equal_nan=True):
            return f"the gradient of {name.removeprefix('inner.')} differs from the plain one"
    return ""
