"""In which order frames are drawn: each once an epoch, a pure function of seed and step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Pool", "Shuffle"]

CHUNKS = 2048
"""Chunks of a pool. Each adds an independent draw to the pool's mean, whatever the correlation inside it."""


@dataclass(frozen=True)
class Pool:
    """Frames that are mixed with one another: contiguous chunks, read in order and drawn in another.

    Attributes
    ----------
    key : tuple of int
        Epoch, and number of the pool in it.
    chunks : list of tuple of int
        First frame of each chunk and the one after its last, ascending.
    order : Tensor
        Places in the concatenated chunks in the order in which they are drawn, ``(m,)``.
    frames : Tensor
        The frames themselves in that order, ``(m,)``.
    """

    key: tuple[int, int]
    chunks: list[tuple[int, int]]
    order: Tensor
    frames: Tensor


@dataclass(frozen=True)
class _Plan:
    """Of one epoch: the chunks of each pool, where each pool begins (and the last ends), and its seed."""

    epoch: int
    chunks: list[Tensor]
    begins: list[int]
    seeds: list[int]


class Shuffle:
    """Minibatches of frames without replacement.

    Without `pool`, an epoch is one random permutation of all frames. With it, frames too many to be read one by one
    are cut into chunks of contiguous frames; an epoch deals the chunks out to pools, and each pool is permuted. Of
    every P neighbouring chunks, P being the number of pools, each pool gets one at random, so that every pool covers
    all of the trajectory. Within an epoch the mean over a pool of K chunks then has the variance

        Var(pool) = (1 / K^2) sum_h S_h^2,

    S_h^2 being the variance of the means of the P chunks of stratum h (Cochran 1977, eq. 5.6, with one chunk drawn of
    each stratum), and the mean of a batch of B of its m frames adds (1 - B/m) / B times the variance inside the pool.
    Where frames forget much sooner than over a chunk, or stay alike over P chunks, that is the variance of a random
    batch. At worst (frames alike inside a chunk and unlike between neighbours) it is larger by 1 + (B - 1) / K, with
    K = 2048. The batches of one pool share its mean, so that they are correlated by as much.

    Parameters
    ----------
    n : int
        Number of frames.
    size : int
        Frames of a batch; the last ``n % size`` of an epoch are left out, others in every epoch.
    seed : int
    pool : int, optional
        About how many frames to mix with one another.
    device : torch.device, optional
        Where the numbers of the frames are wanted.

    References
    ----------
    Cochran, Sampling Techniques, 3rd ed. (1977), ch. 5.

    Examples
    --------
    >>> shuffle = Shuffle(6, 2, seed=0)
    >>> sorted(torch.cat([shuffle.indices(step) for step in range(3)]).tolist())
    [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, n: int, size: int, seed: int, pool: int | None = None, device: torch.device | None = None):
        self.n, self.size, self.seed, self.device = n, size, seed, device
        self.per_epoch = n // size
        self.chunk = n if pool is None or pool >= n else max(1, pool // CHUNKS)
        self.pools = -(-n // (self.chunk * CHUNKS))
        self._plan: _Plan | None = None
        self._made: list[Pool] = []

    def indices(self, step: int) -> Tensor:
        """Frames of the minibatch of a step, ``(B,)``."""
        parts = [pool.frames[part] for pool, part in self.pieces(step)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def pieces(self, step: int, steps: int = 1) -> Iterator[tuple[Pool, slice]]:
        """What `steps` steps read, one after the other: pools, and which stretch of their order."""
        while steps:
            epoch, position = divmod(step, self.per_epoch)
            here = min(steps, self.per_epoch - position)
            start, stop = position * self.size, (position + here) * self.size
            begins = self._planned(epoch).begins
            number = bisect_right(begins, start) - 1
            while start < stop:
                begin, end = begins[number], min(stop, begins[number + 1])
                yield self.pool(epoch, number), slice(start - begin, end - begin)
                start, number = end, number + 1
            step, steps = step + here, steps - here

    def pool(self, epoch: int, number: int) -> Pool:
        """One pool of an epoch; the last two made are kept."""
        for pool in self._made:
            if pool.key == (epoch, number):
                return pool
        plan = self._planned(epoch)
        m = plan.begins[number + 1] - plan.begins[number]
        generator = torch.Generator().manual_seed(plan.seeds[number])
        order = torch.arange(m) if self.size == self.n else torch.randperm(m, generator=generator)
        if self.pools == 1:
            chunks, frames = [(0, self.n)], order
        else:
            starts = plan.chunks[number] * self.chunk
            ends = (starts + self.chunk).clamp_max(self.n)
            chunks = list(zip(starts.tolist(), ends.tolist(), strict=True))
            rows = (starts[:, None] + torch.arange(self.chunk)).flatten()
            frames = rows[rows < self.n][order]
        pool = Pool((epoch, number), chunks, order, frames.to(self.device))
        self._made = [*self._made[-1:], pool]
        return pool

    def _planned(self, epoch: int) -> _Plan:
        if self._plan is None or self._plan.epoch != epoch:
            seed = self.seed * 1_000_003 + epoch
            if self.pools == 1:
                self._plan = _Plan(epoch, [], [0, self.n], [seed])
            else:
                self._plan = self._dealt(epoch, torch.Generator().manual_seed(seed))
        return self._plan

    def _dealt(self, epoch: int, generator: torch.Generator) -> _Plan:
        count = -(-self.n // self.chunk)
        strata = -(-count // self.pools)
        dealt = torch.rand(strata, self.pools, generator=generator).argsort(1)
        dealt += self.pools * torch.arange(strata)[:, None]
        chunks = [column[column < count] for column in dealt.T]
        # only the very last chunk is shorter
        missing = count * self.chunk - self.n
        sizes = [len(c) * self.chunk - missing * int(c[-1] == count - 1) for c in chunks]
        seeds = torch.randint(2**62, (self.pools,), generator=generator).tolist()
        return _Plan(epoch, chunks, [0, *torch.tensor(sizes).cumsum(0).tolist()], seeds)
