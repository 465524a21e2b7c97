"""The gradients of a fit's step, computed in parts by several processes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bayescg.errors import ConfigError, ModelError
from bayescg.inference.distributed import Processes
from bayescg.recording.compiled import Result, compile_step
from bayescg.recording.functional import Params, seeded
from bayescg.recording.optimiser import clipped
from bayescg.recording.recorded import Gradients, Tensors
from bayescg.recording.shards import Shard, frame_axes, sharded
from bayescg.recording.step_modes import MODES, Step

__all__ = ["compile_parts"]


def compile_parts(
    processes: Processes,
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
    r"""As `compile_step`, for several processes that each compute the gradient of their part of the batch.

    A bound scaled from a batch of B frames to the data set is the mean of those of its parts, each counted by its
    frames:

    .. math:: g + \frac{N}{B} \sum_{n=1}^B \ell_n = \sum_r \frac{B_r}{B} (g + \frac{N}{B_r} \sum_{n \in r} \ell_n)

    with g what does not belong to frames (the prior of random weights). So is its gradient, which is then clipped; each
    process draws the random numbers of the whole batch and uses those of its frames. All is checked on a few frames:
    any program whose parts do not add up is refused.

    Raises
    ------
    ConfigError
        There are more processes than frames in a batch.
    ModelError
        The loss or a changing buffer is no mean over frames, or random draws cannot be divided by frames.
    LostProcess
        Another process has ended.
    """
    whole = next(iter(tensors.values())).shape[0]
    if whole < processes.count:
        raise ConfigError(
            f"a batch of {whole} frames cannot be divided among {processes.count} processes; raise batch_size or "
            "start fewer processes"
        )
    processes.share(*params.values(), *buffers.values())
    axes = frame_axes(plain, params, buffers, tensors)
    _check(processes, plain, axes, params, buffers, tensors)
    shard = Shard.of(whole, processes.rank, processes.count)
    part, of_shard = sharded(plain, axes, shard), shard.tensors(tensors)

    def compiled(mode: str) -> Step:
        return compile_step(part, params, buffers, of_shard, members=members, clip=math.inf, mode=mode, steps=steps)

    step = _in_one_mode(processes, compiled, mode)

    def run(params: Params, buffers: Params, tensors: Tensors, seed: int) -> Result:
        grads, loss, _, moved = step.run(params, buffers, shard.tensors(tensors), seed)
        grads, loss, moved = _mean(processes, shard, grads, loss, moved)
        grads, bad = clipped(grads, loss, clip, members)
        return grads, loss, bad, moved

    return Step(run, step.mode, f"{step.why}; {processes.count} processes")


def _in_one_mode(processes: Processes, compiled: Callable[[str], Step], mode: str) -> Step:
    """A step that runs alike in all processes."""
    if mode == "auto":  # the choice hangs on the time of a step: one process has to make it
        step = compiled("auto") if processes.rank == 0 else None
        mode = processes.shared(None if step is None else step.mode)
        step = step or compiled(mode)
    else:
        step = compiled(mode)
    # a process that cannot compile, for want of a compiler, say, keeps the others from it
    modes = processes.sum(torch.eye(len(MODES), device=processes.device)[MODES.index(step.mode)])
    common = MODES[int(modes.nonzero().max())]
    return step if step.mode == common else compiled(common)


def _mean(
    processes: Processes, shard: Shard, grads: Params, loss: Tensor, moved: Params
) -> tuple[Params, Tensor, Params]:
    """Mean over processes, each counted by its frames, in one exchange."""
    floating = {k: v for k, v in moved.items() if v.is_floating_point()}  # counters are the same everywhere
    values = [loss, *grads.values(), *floating.values()]
    flat = torch.cat([v.flatten() for v in values]) * (shard.length / shard.whole)
    parts = processes.sum(flat).split([v.numel() for v in values])
    loss, *rest = (p.view_as(v).to(v.dtype) for p, v in zip(parts, values, strict=True))
    return dict(zip(grads, rest, strict=False)), loss, {**moved, **dict(zip(floating, rest[len(grads) :], strict=True))}


def _check(
    processes: Processes,
    plain: Gradients,
    axes: list[int | None],
    params: Params,
    buffers: Params,
    tensors: Tensors,
) -> None:
    """Compare the parts of a few frames with all of them."""
    whole = next(iter(tensors.values())).shape[0]
    n = min(whole, 2 * processes.count + 1)
    few, shard = Shard(0, n, whole).tensors(tensors), Shard.of(n, processes.rank, processes.count)
    with seeded(0, processes.device), torch.no_grad():
        grads, loss, moved = plain(params, buffers, few)
    with seeded(0, processes.device), torch.no_grad():
        in_parts = sharded(plain, axes, shard)(params, buffers, shard.tensors(few))
    found_grads, found_loss, found_moved = _mean(processes, shard, *in_parts)
    _compare("loss", loss, found_loss, 1.0)
    _compare("gradient", _flat(grads), _flat(found_grads), 0.0)
    for name, value in moved.items():
        _compare(f"buffer {name.removeprefix('inner.')}", value, found_moved[name], 1.0)


def _flat(values: Params) -> Tensor:
    return torch.cat([v.flatten() for v in values.values()])


def _compare(name: str, whole: Tensor, parts: Tensor, least: float) -> None:
    limit = 1e-4 if whole.dtype == torch.float32 else 1e-9
    error, size = float((whole - parts).double().norm()), float(whole.double().norm())
    if math.isfinite(size) and not error <= limit * max(size, least):
        raise ModelError(
            f"the {name} of a batch is not the mean of those of its parts (they differ by {error:.1e} in {size:.1e}), "
            "so several processes would not train what one trains; start the script with python, in one process"
        )
