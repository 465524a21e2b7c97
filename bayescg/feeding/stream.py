"""Frames too many to keep: read ahead by a thread, in large pieces, while the fit computes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from bayescg.data.rows import Rows, on_disk, will_need
from bayescg.errors import DataError
from bayescg.feeding.shuffle import Pool, Shuffle

__all__ = ["Stream"]

BLOCK_BYTES = 2**22
"""Batches are read together up to this size, so that threads meet seldom and transfers are long."""

BLOCK_STEPS, BLOCK_FRAMES = 64, 2**14
"""At most so many batches, and frames of several batches, are read together."""

ASKED_AHEAD = 8
"""Of the chunks of a pool, this part is asked of the disk before it is read."""

Finish = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Makes a model's tensors of the raw rows of some frames: of each source, and ``index``, ``(m, ...)``."""


class Stream:
    """Batches of frames, read ahead by one thread.

    The thread only copies rows on a CUDA machine, into pinned memory; all calls of CUDA stay in the thread that asks
    for batches, where they cannot disturb the capture of a CUDA graph. Elsewhere the thread also finishes the batches.

    Parameters
    ----------
    sources : mapping
        Arrays to read rows of, by name, in memory or on disk, ``(n, ...)``.
    shuffle : Shuffle
        Used by the thread alone.
    finish : callable
        From raw rows of m frames to tensors ``(m, ...)``, except ``"weight"``, ``(..., m)``.
    device : torch.device
    prefetch : int
        Blocks of batches to read ahead; 0 reads when asked.
    """

    def __init__(
        self,
        sources: Mapping[str, np.ndarray | Rows],
        shuffle: Shuffle,
        finish: Finish,
        device: torch.device,
        prefetch: int,
    ):
        self.shuffle, self.finish, self.prefetch = shuffle, finish, prefetch
        self.pinned = device.type == "cuda"
        self.reader = _Reader(sources, shuffle)
        row = sum(math.prod(shape) * dtype.itemsize for shape, dtype in self.reader.rows.values())
        self.steps = max(1, min(BLOCK_STEPS, BLOCK_FRAMES // shuffle.size, BLOCK_BYTES // (row * shuffle.size)))
        self._executor: ThreadPoolExecutor | None = None
        self._ahead: deque[tuple[int, Future[dict[str, Tensor]]]] = deque()
        self._number, self._block = -1, dict[str, Tensor]()

    def batch(self, step: int) -> dict[str, Tensor]:
        """Tensors of the minibatch of a step, each in memory of its own."""
        number, place = divmod(step, self.steps)
        if number != self._number:
            # the block before is dropped first: one less in memory
            self._number, self._block = -1, {}
            self._block = self._next(number)
            self._number = number
        if self.steps == 1:
            return {name: values[0] for name, values in self._block.items()}
        # a view would be aligned as chance has it, and kernels round by alignment
        return {name: values[place].clone() for name, values in self._block.items()}

    def close(self) -> None:
        """End the thread; it starts again with the next batch that is asked for."""
        self._cancel()
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None
        self.reader.forget()

    def _cancel(self) -> None:
        while self._ahead:
            self._ahead.pop()[1].cancel()

    def _next(self, number: int) -> dict[str, Tensor]:
        if self.prefetch == 0:
            return self._finished(self._read(number, self._empty()))
        if self._ahead and self._ahead[0][0] != number:
            self._cancel()
        if self._executor is None:
            # its thread ends when the executor is closed or collected
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="bayescg-feed")
        while len(self._ahead) <= self.prefetch:
            following = number + len(self._ahead)
            self._ahead.append((following, self._executor.submit(self._work, following, self._empty())))
        try:
            block = self._ahead.popleft()[1].result()
        except Exception:
            self.close()
            raise
        return self._finished(block) if self.pinned else block

    def _work(self, number: int, out: dict[str, Tensor]) -> dict[str, Tensor]:
        raw = self._read(number, out)
        return raw if self.pinned else self._finished(raw)

    def _empty(self) -> dict[str, Tensor]:
        m = self.steps * self.shuffle.size
        rows = {name: (shape, getattr(torch, dtype.name)) for name, (shape, dtype) in self.reader.rows.items()}
        rows["index"] = ((), torch.int64)
        return {k: torch.empty((m, *shape), dtype=dtype, pin_memory=self.pinned) for k, (shape, dtype) in rows.items()}

    def _read(self, number: int, out: dict[str, Tensor]) -> dict[str, Tensor]:
        at = 0
        for pool, part in self.shuffle.pieces(number * self.steps, self.steps):
            here = slice(at, at + part.stop - part.start)
            try:
                self.reader(pool, part, {name: values[here].numpy() for name, values in out.items()})
            except OSError as error:
                raise DataError(
                    f"the frames of step {number * self.steps} cannot be read: {error}; see that the disk or share "
                    "they lie on is there, and start again: a fit with run_dir= goes on from its checkpoint"
                ) from error
            out["index"][here] = pool.frames[part]
            at = here.stop
        return out

    def _finished(self, raw: dict[str, Tensor]) -> dict[str, Tensor]:
        tensors = self.finish(raw)
        weight = tensors.pop("weight", None)
        shape = (self.steps, self.shuffle.size)
        batches = {name: values.reshape(*shape, *values.shape[1:]) for name, values in tensors.items()}
        if weight is not None:
            batches["weight"] = weight.reshape(*weight.shape[:-1], *shape).movedim(-2, 0).contiguous()
        return batches


class _Reader:
    """Rows of the sources, by pool.

    A single pool is read row by row. Of several, each is read once, chunk by chunk, into memory: while one serves, the
    next is filled by as much, so that no batch waits for a whole pool.
    """

    def __init__(self, sources: Mapping[str, np.ndarray | Rows], shuffle: Shuffle):
        self.buffered = shuffle.pools > 1 and any(on_disk(v) for v in sources.values())
        # plain views of memory maps, whose rows are slow to choose otherwise
        self.sources = {name: v if isinstance(v, Rows) else np.asarray(v) for name, v in sources.items()}
        self.rows = {name: (source.shape[1:], np.dtype(source.dtype)) for name, source in self.sources.items()}
        self.shuffle = shuffle
        self.current, self.following = _Buffer(self.sources), _Buffer(self.sources)

    def __call__(self, pool: Pool, part: slice, out: dict[str, np.ndarray]) -> None:
        """Copy the stretch `part` of the order of `pool` to `out`."""
        if not self.buffered:
            _take(self.sources, pool.frames[part].numpy(), out)
            return
        if not self.current.holds(pool):
            self.current, self.following = self.following, self.current
            self.current.fill(pool, 1.0)
        _take(self.current.values, pool.order[part].numpy(), out)
        epoch, number = pool.key
        after = (epoch, number + 1) if number + 1 < self.shuffle.pools else (epoch + 1, 0)
        self.following.fill(self.shuffle.pool(*after), part.stop / len(pool.order))

    def forget(self) -> None:
        """Give the memory of the pools back."""
        self.current, self.following = _Buffer(self.sources), _Buffer(self.sources)


class _Buffer:
    """Memory for the chunks of a pool, used again for the next but one."""

    def __init__(self, sources: Mapping[str, np.ndarray | Rows]):
        self.sources = sources
        self.values = dict[str, np.ndarray]()
        self.key, self.asked, self.chunks, self.filled = (-1, -1), 0, 0, 0

    def holds(self, pool: Pool) -> bool:
        """Whether all chunks of `pool` are in memory."""
        return self.key == pool.key and self.chunks == len(pool.chunks)

    def fill(self, pool: Pool, share: float) -> None:
        """Read chunks of `pool` until at least `share` of them are in memory."""
        if self.key != pool.key:
            self.key, self.asked, self.chunks, self.filled = pool.key, 0, 0, 0
            m = len(pool.order)
            if not self.values or any(len(values) < m for values in self.values.values()):
                self.values = {}
                self.values = {name: np.empty((m, *s.shape[1:]), s.dtype) for name, s in self.sources.items()}
        wanted = math.ceil(share * len(pool.chunks))
        for start, stop in pool.chunks[self.asked : wanted + len(pool.chunks) // ASKED_AHEAD]:
            for source in self.sources.values():
                will_need(source, start, stop)
            self.asked += 1
        while self.chunks < wanted:
            start, stop = pool.chunks[self.chunks]
            for name, source in self.sources.items():
                self.values[name][self.filled : self.filled + stop - start] = source[start:stop]
            self.chunks, self.filled = self.chunks + 1, self.filled + stop - start


def _take(sources: Mapping[str, np.ndarray | Rows], index: np.ndarray, out: dict[str, np.ndarray]) -> None:
    """Rows of each source into `out`."""
    for name, source in sources.items():
        rows = index
        if isinstance(source, Rows):
            source, rows = source.base, source.rows[index]
        if source.flags.c_contiguous and source.dtype.isnative:
            # mode="clip" writes into `out` directly; the indices are right
            np.take(source, rows, axis=0, out=out[name], mode="clip")
        else:  # take would copy all of the source first
            out[name][...] = source[rows]
