"""One process's part of a batch: its frames, and its part of the random numbers that one process would draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bayescg.errors import ModelError
from bayescg.recording.functional import Params, seeded
from bayescg.recording.recorded import Gradients, Tensors

__all__ = ["Shard", "frame_axes", "sharded"]


@dataclass(frozen=True)
class Shard:
    """Contiguous frames of a batch.

    Attributes
    ----------
    start, length : int
        Its first frame and how many it has.
    whole : int
        Frames of the batch.

    Examples
    --------
    >>> [Shard.of(7, rank, 3) for rank in range(3)]
    [Shard(start=0, length=3, whole=7), Shard(start=3, length=2, whole=7), Shard(start=5, length=2, whole=7)]
    """

    start: int
    length: int
    whole: int

    @classmethod
    def of(cls, whole: int, rank: int, count: int) -> Shard:
        """Part `rank` of `count` parts of nearly the same length."""
        length, longer = divmod(whole, count)
        return cls(rank * length + min(rank, longer), length + (rank < longer), whole)

    def part(self, value: Tensor, axis: int) -> Tensor:
        """The shard's rows of a tensor."""
        return value.narrow(axis, self.start, self.length)

    def tensors(self, whole: Tensors) -> Tensors:
        """The shard's rows of a batch's fields."""
        return {k: self.part(v, -1 if k == "weight" else 0).contiguous() for k, v in whole.items()}


def frame_axes(plain: Gradients, params: Params, buffers: Params, tensors: Tensors) -> list[int | None]:
    """Which axis of each random draw of a program has one entry for each frame; None where there is none.

    The program is run on batches of two sizes: the axis whose length follows the batch's is the one. That holds
    wherever the program draws, in a plate or not, under any number of leading axes of members and particles.

    Raises
    ------
    ModelError
        A draw cannot be divided by frames.
    """
    whole = next(iter(tensors.values())).shape[0]
    small = 1 if whole < 3 else 2
    draws: list[list[tuple[str, tuple[int, ...]]]] = []
    for n in (small, small + 1):
        with seeded(0), torch.no_grad(), _Watch() as watch:
            plain(params, buffers, Shard(0, n, whole).tensors(tensors))
        draws.append(watch.draws)
    first, second = draws
    if len(first) != len(second):
        raise ModelError(
            f"the programs draw {len(first)} random tensors for {small} frames and {len(second)} for {small + 1}: "
            "several processes would not draw the same numbers as one; fit in one process"
        )
    return [_axis(name, a, b, small) for (name, a), (_, b) in zip(first, second, strict=True)]


def sharded(plain: Gradients, axes: list[int | None], shard: Shard) -> Gradients:
    """`plain` for the frames of a shard, with the random numbers that it would have in a run on the whole batch."""

    def run(params: Params, buffers: Params, tensors: Tensors) -> tuple[Params, Tensor, Params]:
        with _Divide(axes, shard):
            return plain(params, buffers, tensors)

    return run


def _axis(name: str, a: tuple[int, ...], b: tuple[int, ...], n: int) -> int | None:
    if a == b:
        return None
    changed = [i for i, (m, k) in enumerate(zip(a, b, strict=False)) if m != k]
    if len(a) != len(b) or len(changed) != 1 or (a[changed[0]], b[changed[0]]) != (n, n + 1):
        raise ModelError(
            f"the programs draw random numbers ({name}) of shape {a} for {n} frames and {b} for {n + 1}: no axis is "
            "that of the frames, so they cannot be divided among processes; fit in one process"
        )
    if _kind(name) is None:
        raise ModelError(
            f"the programs draw from {name} for each frame, whose random numbers depend on its parameters and cannot "
            "be divided among processes; fit in one process"
        )
    return changed[0]


def _kind(name: str) -> str | None:
    """How a draw gets its shape: from a list of sizes, from its like, or from the tensor that it fills."""
    if name in ("randn", "rand"):
        return "sizes"
    if name in ("randn_like", "rand_like"):
        return "like"
    return "fills" if name in ("normal_", "uniform_", "exponential_", "cauchy_", "log_normal_") else None


class _Watch(TorchDispatchMode):
    """Notes the random draws of what runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.draws.append((func.overloadpacket.__name__, tuple(out.shape)))
        return out


class _Divide(TorchDispatchMode):
    """Makes random draws for the whole batch and hands on a shard's rows of them."""

    def __init__(self, axes: list[int | None], shard: Shard):
        super().__init__()
        self.axes, self.shard = iter(axes), shard

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        axis = next(self.axes, None) if torch.Tag.nondeterministic_seeded in func.tags else None
        if axis is None:
            return func(*args, **kwargs)
        kind = _kind(func.overloadpacket.__name__)
        sizes = list(args[0] if kind == "sizes" else args[0].shape)
        sizes[axis] = self.shard.whole
        whole: Any = sizes if kind == "sizes" else args[0].new_empty(sizes)
        part = self.shard.part(func(whole, *args[1:], **kwargs), axis)
        return args[0].copy_(part) if kind == "fills" else part
