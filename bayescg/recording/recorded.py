"""A program's loss and gradients as a pure function, and its recording: one flat tensor graph with Pyro traced away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor, fx, nn
from torch.func import functional_call, vmap
from torch.utils import _pytree as pytree

from bayescg.errors import ModelError
from bayescg.recording.functional import Params, attempted, functional_random, one_by_one, over, seeded
from bayescg.recording.tracing import is_recording, traced
from bayescg.recording.unrecordable import (
    FixedShapes,
    NoLists,
    Unrecordable,
    at,
    explained,
    first_difference,
    run_unchanging,
)

__all__ = [
    "Gradients",
    "Noise",
    "Tensors",
    "gradient_function",
    "lift_noise",
    "loss_function",
    "record",
]

Tensors = dict[str, Tensor]
"""What a program reads of a batch, by name; ``weight`` has a leading axis of members where there are members."""

Gradients = Callable[[Params, Params, Tensors], tuple[Params, Tensor, Params]]
"""From parameters, buffers and batch: the gradients, the loss, and the buffers that the program has changed."""


def loss_function(
    program: nn.Module, total: int, total_weight: float, members: bool
) -> Callable[[Params, Params, Tensors], Tensor]:
    """Loss of every member, ``(members,)`` or a scalar, as a function of parameters, buffers and batch."""
    pure = _pure(program, total, total_weight, ())

    def loss(params: Params, buffers: Params, tensors: Tensors) -> Tensor:
        return pure(params, buffers, tensors)[0]

    def run(params: Params, buffers: Params, tensors: Tensors) -> Tensor:
        with functional_random(), pyro.validation_enabled(False):
            return (over(loss, _axes(params, buffers, tensors, ())) if members else loss)(params, buffers, tensors)

    return run


def gradient_function(
    program: nn.Module,
    total: int,
    total_weight: float,
    members: bool,
    params: Params,
    buffers: Params,
    tensors: Tensors,
) -> tuple[Gradients, tuple[str, ...]]:
    """Gradients and loss as a pure function, run plainly, and the names of the buffers that a run changes.

    Such buffers (a running mean, say) come out as results; with members, each has its own, with a leading axis.

    Parameters
    ----------
    program : nn.Module
        From the tensors of a batch, `total` and `total_weight` to a scalar loss.
    total, total_weight : int, float
        Number of frames of the data set and the sum of their weights.
    members : bool
        Whether parameters and weights have a leading axis of members trained side by side.
    params, buffers, tensors : dict of str to Tensor
        Example arguments; later ones have the same shapes, but for the axis of members of buffers that change.

    Raises
    ------
    ModelError
        A buffer is made of draws that stand for several. What is returned raises it where nothing is to be learnt.
    """
    member = {k: v[0] for k, v in params.items()} if members else params
    row = {k: v[0] if members and k == "weight" else v for k, v in tensors.items()}
    moving = _moving(program, total, total_weight, member, buffers, row)

    pure = _pure(program, total, total_weight, moving)
    alone = _pure(program, total, total_weight, moving, with_gradients=True)

    def together(p: Params, b: Params, t: Tensors) -> tuple[Params, Tensor, Params]:
        leaves = {k: v.detach().requires_grad_() for k, v in p.items()}
        loss, moved = vmap(pure, _axes(p, b, t, moving), randomness="different")(leaves, b, t)
        return _gradients(loss.sum(), leaves), loss.detach(), moved  # no member's loss depends on another's parameters

    def run(p: Params, b: Params, t: Tensors) -> tuple[Params, Tensor, Params]:
        with functional_random(), pyro.validation_enabled(False), torch.enable_grad():
            if not members:
                return alone(p, b, t)
            return attempted(together, one_by_one(alone, _axes(p, b, t, moving)))(p, b, t)

    return run, moving


def record(plain: Gradients, params: Params, buffers: Params, tensors: Tensors) -> Gradients:
    """The recorded tensor operations of `plain`, compared with it at other parameters, another batch and another seed.

    Raises
    ------
    Unrecordable
        The program branches on values, keeps a count of its runs, or its recording gives other numbers; names the line
        where one is known.
    """
    try:
        with seeded(0), functional_random(), torch.no_grad(), NoLists(), FixedShapes():
            graph = traced(plain, params, buffers, tensors)
        _drop_detached(graph)
        mismatch = _mismatch(plain, graph, params, buffers, tensors)
    except Exception as error:  # whatever a user's program raises while it is recorded, the plain one can still run
        raise Unrecordable(explained(error)) from error
    if mismatch:
        raise Unrecordable(mismatch)
    return graph


def _drop_detached(graph: fx.GraphModule) -> None:
    # without gradients to keep, a detached tensor is the tensor
    for node in list(graph.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()


@dataclass(frozen=True)
class Noise:
    """One standard random draw of a recorded program."""

    kind: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def draw(self, generator: torch.Generator) -> Tensor:
        """Fresh numbers, as the recorded operation draws them: in the order of memory."""
        place = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)
        return place.normal_(generator=generator) if self.kind == "normal" else place.uniform_(generator=generator)


_DRAWS = {"randn": "normal", "randn_like": "normal", "rand": "uniform", "rand_like": "uniform"}


def lift_noise(function: Callable, example: tuple[Any, ...]) -> tuple[fx.GraphModule, list[Noise], bool]:
    """Record a function of recordings, its standard normal and uniform draws arguments after the others, in order.

    The compiled program is then free of random numbers: it is given the very ones that the plain program draws.

    Parameters
    ----------
    function : callable
    example : tuple
        Its arguments.

    Returns
    -------
    graph : GraphModule
        Of the flattened arguments and the draws.
    noise : list of Noise
    complete : bool
        Whether no other random operation (a gamma draw, say) is left inside.
    """
    flat, spec = pytree.tree_flatten(example)
    noise: list[Noise] = []

    def unlifted(*values: Tensor) -> Any:
        return pytree.tree_leaves(function(*pytree.tree_unflatten(list(values), spec)))

    with torch.no_grad(), seeded(0):
        lifted = traced(unlifted, *flat)
    last = [n for n in lifted.graph.nodes if n.op == "placeholder"][-1]
    complete = True
    for node in list(lifted.graph.nodes):
        packet = getattr(node.target, "overloadpacket", None)
        if node.op != "call_function" or packet is None or torch.Tag.nondeterministic_seeded not in node.target.tags:
            continue
        kind = _DRAWS.get(packet.__name__)
        if kind is None:
            complete = False
            continue
        value = node.meta["val"]
        noise.append(Noise(kind, tuple(value.shape), value.stride(), value.dtype, value.device))
        with lifted.graph.inserting_after(last):
            last = lifted.graph.placeholder(f"noise_{len(noise)}")
        node.replace_all_uses_with(last)
        lifted.graph.erase_node(node)
    lifted.graph.eliminate_dead_code()
    lifted.recompile()
    return lifted, noise, complete


def _pure(
    program: nn.Module, total: int, total_weight: float, moving: tuple[str, ...], with_gradients: bool = False
) -> Callable[[Params, Params, Tensors], Any]:
    """Loss and changed buffers of one member, or its gradients, loss and changed buffers."""
    module = _WithGradients(program)

    def result(params: Params, buffers: Params, tensors: Tensors) -> Any:
        leaves = {k: v.detach().requires_grad_() for k, v in params.items()} if with_gradients else params
        # what the program changes in place must not be what the caller holds
        values = {**leaves, **buffers, **{k: buffers[k].clone() for k in moving}}
        state = {f"program.{k}": v for k, v in values.items()}
        arguments = (leaves if with_gradients else None, tensors, total, total_weight)

        def run() -> Any:
            return functional_call(module, state, arguments)

        results = run_unchanging(program, run) if is_recording() else run()
        return *results, {k: state[f"program.{k}"].detach() for k in moving}

    return result


class _WithGradients(nn.Module):
    # a backward pass may ask for the parameters again (that of a continuous flow does): they must still be these
    def __init__(self, program: nn.Module):
        super().__init__()
        self.program = program

    def forward(self, leaves: Params | None, tensors: Tensors, total: int, total_weight: float) -> tuple[Any, ...]:
        loss = self.program(tensors, total, total_weight)
        return (loss,) if leaves is None else (_gradients(loss, leaves), loss.detach())


def _gradients(loss: Tensor, leaves: Params) -> Params:
    if not loss.requires_grad:
        raise ModelError("no parameter of the model influences its loss: it is constant, or detached from them")
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True))


def _moving(
    program: nn.Module, total: int, total_weight: float, params: Params, buffers: Params, tensors: Tensors
) -> tuple[str, ...]:
    """Names of the buffers that a run of the program changes."""
    copies = {k: v.clone() for k, v in buffers.items()}
    state = {**params, **copies}
    with torch.no_grad(), seeded(0), functional_random():
        functional_call(program, state, (tensors, total, total_weight))
    moving = tuple(k for k, v in copies.items() if state[k] is not v or v._version)
    for name in moving:
        try:
            state[name].clone()
        except RuntimeError as error:  # a tensor that stands for one of each particle, left behind by vmap
            raise ModelError(
                f"buffer {name.removeprefix('inner.')} is made of latent variables, of which objective='iwae' draws "
                "several for each frame: update it from the batch only, or use objective='elbo'"
            ) from error
    return moving


def _axes(params: Params, buffers: Params, tensors: Tensors, moving: tuple[str, ...]) -> tuple[Any, ...]:
    """Which arguments have an axis of members."""
    own = {k: 0 if k in moving else None for k in buffers}
    return {k: 0 for k in params}, own, {k: 0 if k == "weight" else None for k in tensors}


def _mismatch(plain: Gradients, graph: Gradients, params: Params, buffers: Params, tensors: Tensors) -> str:
    perturbed = {
        k: v + 0.01 * torch.sin(torch.arange(v.numel(), device=v.device, dtype=v.dtype)).view_as(v)
        for k, v in params.items()
    }
    for other in _other_batches(tensors):
        arguments = (perturbed, buffers, other)
        with seeded(12345), torch.no_grad():
            expected = plain(*arguments)
        if torch.isfinite(expected[1]).all():
            break
    with seeded(12345), torch.no_grad():
        recorded = graph(*arguments)
    difference = _difference(expected, recorded)
    if difference:
        for first, second in ((arguments, arguments), ((params, buffers, tensors), arguments)):
            with torch.no_grad():
                place = first_difference(plain, first, second)
            if place:
                return at(place, difference)
    return difference


def _other_batches(tensors: Tensors) -> Iterator[Tensors]:
    """Batches with other frames: a quarter of them twice in place of another quarter; and the same in another order."""
    count = max((v.shape[-1] if k == "weight" else len(v) for k, v in tensors.items()), default=0)
    index = torch.arange(count).flip(0)
    twice = torch.cat([index[count // 4 :], index[count - count // 4 :]])
    for rows in (twice, index):
        yield {k: v.index_select(-1 if k == "weight" else 0, rows.to(v.device)) for k, v in tensors.items()}


def _difference(expected: tuple[Params, Tensor, Params], recorded: tuple[Params, Tensor, Params]) -> str:
    (grads, loss, left), (grads_traced, loss_traced, left_traced) = expected, recorded
    if not torch.allclose(loss, loss_traced, rtol=1e-6, atol=0, equal_nan=True):
        return "the recorded loss differs from the program's at other parameters, another batch and another seed"
    for name, g in grads.items():
        if not torch.allclose(g, grads_traced[name], rtol=1e-4, atol=1e-6 * float(g.abs().max()), equal_nan=True):
            return f"the recorded gradient of {name.removeprefix('inner.')} differs from the program's"
    for name, v in left.items():
        if not torch.allclose(v, left_traced[name], equal_nan=True):
            return f"the buffer {name.removeprefix('inner.')} ends differently in the recording"
    return ""
