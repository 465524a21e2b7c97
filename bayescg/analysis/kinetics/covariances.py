r"""Covariances and Dirichlet forms of basis functions, block by block, in one pass over the frames.

Two matrices are all that the slow modes need. The covariance of the functions, :math:`B`, and their Dirichlet form,

- for the generator, :math:`A_{ij} = E[\nabla\chi_i \cdot D \nabla\chi_j]`,
- for pairs of frames a lag apart, :math:`A_{ij} = \tfrac12 E[\Delta\chi_i \Delta\chi_j]`, with
  :math:`\Delta\chi = \chi(x_{t+\tau}) - \chi(x_t)`, which is :math:`C_{00} - C_{0\tau}` with both made symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bayescg.analysis.kinetics.integrands import Basis, Diffusion, Integrands, gradients, pairs, values
from bayescg.data.pairs import steps_of
from bayescg.data.split import spacing
from bayescg.errors import DataError
from bayescg.features import Features

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["Covariances", "Runs", "accumulate", "runs"]

CHUNK = 4096
NUMBERS = 20_000_000  # in memory for all blocks together: 160 MB


@dataclass(frozen=True)
class Covariances:
    """Weighted sums over the frames (or pairs) of each of a number of blocks.

    Attributes
    ----------
    weight : ndarray, (blocks,)
    first : ndarray, (blocks, m)
        Of the functions, from which `shift` was taken.
    second, dirichlet : ndarray, (blocks, m, m)
    shift : ndarray, (m,)
        Near the mean of the functions, so that no digits are lost.
    run : ndarray of int, (blocks,)
        Which uninterrupted run of frames a block is a part of.
    """

    weight: np.ndarray
    first: np.ndarray
    second: np.ndarray
    dirichlet: np.ndarray
    shift: np.ndarray
    run: np.ndarray

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def size(self) -> int:
        """Number of functions."""
        return self.first.shape[1]

    @property
    def fixed(self) -> Covariances:
        """These sums: frames weigh the same in all draws of the blocks."""
        return self

    def merged(self, ids: np.ndarray) -> Covariances:
        """Blocks of the same number (blocks,) added up."""
        starts = np.flatnonzero(np.r_[True, np.diff(ids) != 0])
        add = lambda a: np.add.reduceat(a, starts, axis=0)  # noqa: E731
        return Covariances(
            add(self.weight), add(self.first), add(self.second), add(self.dirichlet), self.shift, self.run[starts]
        )

    def moved(self, shift: np.ndarray) -> Covariances:
        """The same sums, of functions from which another `shift` (m,) was taken."""
        off = self.shift - shift
        cross = self.first[:, :, None] * off
        first = self.first + self.weight[:, None] * off
        second = self.second + cross + cross.mT + np.multiply.outer(self.weight, np.outer(off, off))
        return replace(self, first=first, second=second, shift=shift)

    def joined(self, others: Covariances) -> Covariances:
        """These blocks and, after them, others of the same functions and shift."""
        fields = ("weight", "first", "second", "dirichlet", "run")
        return replace(self, **{k: np.concatenate([getattr(self, k), getattr(others, k)]) for k in fields})

    def few(self) -> Covariances:
        """Twenty blocks of neighbours, or what there are where they are fewer."""
        return self.merged(np.arange(len(self)) * 20 // len(self)) if len(self) > 20 else self

    def projected(self, p: np.ndarray) -> Covariances:
        """Of the functions p^T (chi - shift), for p (m, r)."""
        project = lambda a: p.T @ a @ p  # noqa: E731
        return replace(
            self,
            first=self.first @ p,
            second=project(self.second),
            dirichlet=project(self.dirichlet),
            shift=np.zeros(p.shape[1]),
        )

    def mixed(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Dirichlet forms and covariances (draws, m, m), and means (draws, m), under weights (draws, blocks)."""
        weights = np.atleast_2d(weights)
        m = self.size
        total = (weights @ self.weight)[:, None]
        mean = weights @ self.first / total
        a, b = ((weights @ s.reshape(len(self), -1) / total).reshape(-1, m, m) for s in (self.dirichlet, self.second))
        return a, b - mean[:, :, None] * mean[:, None, :], mean


@dataclass(frozen=True)
class Runs:
    """Uninterrupted runs of frames: `start` and `stop` (runs,), and how many `order` is apart from frame to frame."""

    start: np.ndarray
    stop: np.ndarray
    step: int


def runs(frames: Frames) -> Runs:
    """Where trajectories, or what is left of them, begin and end; looked up a chunk at a time.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> found = runs(Frames.from_numpy(np.zeros((6, 1)), unit="reduced", dt=1.0, trajectory=[0, 0, 0, 0, 1, 1])[::2])
    >>> found.start.tolist(), found.stop.tolist(), found.step
    ([0, 2], [2, 3], 2)
    """
    n, breaks = len(frames), []
    step = 1 if frames.order is None else spacing(frames.order)
    for start in range(0, n - 1, 1_000_000):
        part = slice(start, min(start + 1_000_001, n))
        new = np.diff(frames.trajectory[part]) != 0
        if frames.order is not None:
            new |= np.diff(frames.order[part]) != step
        breaks.append(start + 1 + np.flatnonzero(new))
    edges = np.concatenate([[0], *breaks, [n]]).astype(np.int64)
    return Runs(edges[:-1], edges[1:], step)


def accumulate(
    basis: Basis,
    frames: Frames,
    *,
    lag: float | None = None,
    reach: float | None = None,
    diffusion: Diffusion = None,
    blocks: int = 1000,
    like: Tensor | None = None,
    between: Callable[..., Integrands] = pairs,
) -> Covariances:
    """Stream the frames once; memory does not grow with their number.

    Parameters
    ----------
    basis : callable
        From positions (n, ...) to (n, m), row by row.
    frames : Frames
    lag : float, optional
        For pairs that far apart; None for the generator.
    reach : float, optional
        Longest of several lags whose blocks are to be the same; runs of frames shorter than that are left out of all.
    diffusion : float, array or callable
        For the generator: D, one for each coordinate, a symmetric matrix, or a function from positions to any of these.
    blocks : int
        About how many to keep apart; fewer where there are very many functions.
    like : Tensor, optional
        Positions are brought to its device and type.
    between : callable
        What to sum over the frames from one end of a pair to the other, as :func:`pairs` does.

    Raises
    ------
    DataError
        No pairs are that far apart; the functions are not finite, not one row for each frame, or, for the generator,
        without gradients.
    ConfigError
        `diffusion` has the wrong shape or is not positive.
    """
    if isinstance(basis, Features):
        basis.check_frames(frames)
    whole = runs(frames)
    steps = 0 if lag is None else _steps(frames, lag, whole)
    longest = steps if reach is None else _steps(frames, reach, whole)
    used = whole.stop - whole.start > longest
    if not used.any():
        raise DataError(
            f"no two frames are {reach or lag:g} apart: the longest run has {int((whole.stop - whole.start).max())} "
            "frames; use a shorter lag or longer trajectories"
        )
    shift = values(basis, _positions(frames, 0, min(len(frames), 512), like)).mean(0)
    m = len(shift)
    edges, run = _cells(whole, longest, int(np.clip(NUMBERS // (2 * m * m), 100, blocks)))
    count = len(run)
    out = Covariances(
        *(np.zeros((count, *shape)) for shape in ((), (m,), (m, m), (m, m))), shift=shift.numpy(), run=run
    )
    scale = 1.0 if frames.weights is None else float(np.mean(frames.weights))
    size = max(CHUNK, 2 * steps)
    for start in range(0, len(frames), size):
        stop = min(start + size, len(frames))
        x = _positions(frames, start, min(stop + steps, len(frames)), like)
        place = np.arange(start, stop)
        w = np.ones(len(place))
        if lag is not None:  # a pair counts where it begins, if its end is in the same run
            run_of = np.searchsorted(whole.stop, place, side="right")
            w = (used[run_of] & (place + steps < whole.stop[run_of])).astype(np.float64)
        elif frames.weights is not None:
            w = np.asarray(frames.weights[start:stop], dtype=np.float64) / scale
        first = int(np.searchsorted(edges, start, side="right")) - 1
        last = int(np.searchsorted(edges, stop, side="left"))
        cuts = np.clip(edges[first : last + 1], start, stop) - start
        parts = between(basis, x, steps, w, shift) if lag is not None else gradients(basis, x, diffusion, w, shift)
        weight, mean, *products = (part.numpy() for part in (parts.weight, parts.mean, parts.values, parts.changes))
        for k, (a, b) in enumerate(pairwise(cuts), first):  # of few rows each: a call of torch would take longer
            out.weight[k] += weight[a:b].sum()
            out.first[k] += mean[a:b].sum(0)
            for target, rows in zip((out.second, out.dirichlet), products, strict=True):
                flat = rows[a:b].reshape(-1, m)
                target[k] += flat.T @ flat
    if lag is None:
        _check_gradients(out)
    some = out.weight > 0
    return replace(out, **{k: getattr(out, k)[some] for k in ("weight", "first", "second", "dirichlet", "run")})


def _cells(found: Runs, steps: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges (cells + 1,) of cells of equally many frames or pairs, and the run (cells,) that each is a part of."""
    number = len(found.start)
    if number > count:  # several whole runs in a cell
        first = np.unique(np.arange(count) * number // count)
        return np.r_[found.start[first], found.stop[-1]], first
    length = np.maximum(found.stop - found.start - steps, 1)
    parts = np.minimum(np.maximum(1, np.round(count * length / length.sum())), length).astype(np.int64)
    edges = [a + np.arange(k) * n // k for a, n, k in zip(found.start, length, parts, strict=True)]
    return np.r_[np.concatenate(edges), found.stop[-1]], np.repeat(np.arange(number), parts)


def _steps(frames: Frames, lag: float, found: Runs) -> int:
    if frames.weights is not None and np.ptp(frames.weights) > 0:
        raise DataError(
            "weighted frames have no lagged estimate: a weight says how probable a frame is, not the path that follows "
            "it, which would need path weights. Use the generator (lag=None), for which such weights are exact, or "
            "unbiased trajectories: wherever these begin, frames.equilibrium(fit, lag=...) makes weights for pairs"
        )
    if frames.dt is None or frames.order is None:
        raise DataError("these frames have no time axis, so there is no lag: give dt= where they are loaded")
    return steps_of(lag, frames.dt * found.step)


def _check_gradients(sums: Covariances) -> None:
    """Refuse functions that vary without a gradient: the generator would take them for infinitely slow."""
    weight, first, second, dirichlet = (a.sum(0) for a in (sums.weight, sums.first, sums.second, sums.dirichlet))
    mean = first / weight
    variance = second.diagonal() / weight - mean**2
    flat = (dirichlet.diagonal() == 0) & (variance > 1e-12 * max(variance.max(), np.square(sums.shift).max()))
    if flat.any():
        raise DataError(
            f"function {int(flat.argmax())} of the basis varies over the frames but has no gradient at any of them, "
            "which the generator needs: it is a step, is detached, or mixes the frames of a batch. With a lag steps "
            "are as good as other functions"
        )


def _positions(frames: Frames, start: int, stop: int, like: Tensor | None) -> Tensor:
    x = torch.as_tensor(frames.gather(slice(start, stop)))
    return x if like is None else x.to(like)
