"""Covariances of basis functions over frames with equilibrium weights, which every draw of the blocks solves for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg.analysis.kinetics.covariances import CHUNK, Covariances, accumulate
from bayescg.analysis.kinetics.integrands import Basis, Diffusion, Integrands, gradients, pairs, values
from bayescg.data.pairs import steps_of
from bayescg.data.split import spacing
from bayescg.errors import DataError

if TYPE_CHECKING:
    from bayescg.data import Frames, Koopman

__all__ = ["Balanced", "covariances_of"]


_MOST_FLAT = 0.01


@dataclass(frozen=True)
class Balanced(Covariances):
    """Sums over blocks of trajectories, with the weights of all of them, and what other weights are made of.

    Attributes
    ----------
    parts : Covariances
        The sums where each frame weighs as one of the functions that weights are combined of, (blocks * functions,).
    koopman : Koopman
    """

    parts: Covariances
    koopman: Koopman

    @property
    def fixed(self) -> Covariances:
        """The sums with the weights of all blocks, for whatever tells blocks apart."""
        return Covariances(self.weight, self.first, self.second, self.dirichlet, self.shift, self.run)

    def merged(self, ids: np.ndarray) -> Covariances:
        """Blocks of trajectories are what they are."""
        return self

    def projected(self, p: np.ndarray) -> Covariances:
        """Of other functions, as of any covariances."""
        small = super().projected(p)
        assert isinstance(small, Balanced)
        return replace(small, parts=self.parts.projected(p))

    def mixed(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Under weights of the blocks, with the equilibrium weights of the frames that these ask for.

        Where these leave a combination of functions without a variance, in at most one of a hundred draws, they are
        those of all blocks alike.
        """
        weights = np.atleast_2d(weights)
        u = self.koopman.coefficients(weights)
        of = lambda w, u: self.parts.mixed((w[:, :, None] * u[:, None, :]).reshape(len(w), -1))  # noqa: E731
        forms = of(weights, u)
        flat = np.linalg.eigvalsh(forms[1])[:, 0] <= 0
        if 0 < flat.mean() <= _MOST_FLAT:
            for form, mended in zip(forms, of(weights[flat], self.koopman.coefficients()), strict=True):
                form[flat] = mended
        return forms


def covariances_of(
    basis: Basis,
    frames: Frames,
    *,
    lag: float | None = None,
    reach: float | None = None,
    diffusion: Diffusion = None,
    like: Tensor | None = None,
    between: Callable[..., Integrands] = pairs,
) -> Covariances:
    """As :func:`accumulate`, and of frames with equilibrium weights in blocks of their trajectories.

    Weights are made again for another lag than their own: those of one lag are of the frames that pairs of this lag
    begin with.
    """
    if frames.koopman is None:
        return accumulate(basis, frames, lag=lag, reach=reach, diffusion=diffusion, like=like, between=between)
    koopman = frames.koopman
    if lag is not None and abs(lag - koopman.lag) > 1e-6 * lag:
        koopman = frames.equilibrium(koopman.basis, lag).koopman
        assert koopman is not None
    step = spacing(frames.order) if frames.order is not None else 1
    steps = 0 if lag is None else steps_of(lag, (frames.dt or np.nan) * step)
    shift = values(basis, _positions(frames, slice(0, min(len(frames), 512)), like)).mean(0)
    m, k = len(shift), koopman.values.shape[1]
    sums = [np.zeros((koopman.blocks, k, *shape)) for shape in ((), (m,), (m, m), (m, m))]
    size = max(CHUNK, 2 * steps)
    for start in range(0, len(frames), size):
        rows = slice(start, min(start + size, len(frames)))
        begins = koopman.begins[rows]
        if lag is not None:
            begins = begins & _in_one_run(frames, rows, steps, step)
        w = begins.astype(np.float64)
        x = _positions(frames, slice(start, min(rows.stop + steps, len(frames))), like)
        parts = between(basis, x, steps, w, shift) if lag is not None else gradients(basis, x, diffusion, w, shift)
        phi = np.asarray(koopman.values[rows], np.float64)
        order = np.flatnonzero(begins)
        order = order[np.argsort(koopman.block[rows][order], kind="stable")]
        of = koopman.block[rows][order]
        for a, b in pairwise(np.r_[0, np.flatnonzero(np.diff(of)) + 1, len(of)]):
            if b > a:
                for total, addend in zip(sums, _weighed(parts, phi, order[a:b]), strict=True):
                    total[of[a]] += addend
    if not sums[0].any():
        raise DataError(f"no frame with an equilibrium weight begins a pair {lag:g} apart: use a shorter lag")
    flat = Covariances(*(a.reshape(-1, *a.shape[2:]) for a in sums), shift=shift.numpy(), run=np.zeros(0, int))
    u = koopman.coefficients()[0]
    u = u * (koopman.begins.sum() / (sums[0].sum(0) @ u))  # of mean one
    fixed = (np.einsum("bk...,k->b...", a, u) for a in sums)
    return Balanced(*fixed, shift=flat.shift, run=np.arange(koopman.blocks), parts=flat, koopman=koopman)


def _weighed(parts: Integrands, phi: np.ndarray, rows: np.ndarray) -> tuple[Any, ...]:
    """Sums over some rows of the integrands times each of the functions (n, k) that weights are made of."""
    w = torch.from_numpy(phi[rows])
    second, dirichlet = (
        torch.einsum("nk,nai,naj->kij", w, part[rows], part[rows]).numpy() for part in (parts.values, parts.changes)
    )
    return (w.mT @ parts.weight[rows]).numpy(), (w.mT @ parts.mean[rows]).numpy(), second, dirichlet


def _in_one_run(frames: Frames, rows: slice, steps: int, step: int) -> np.ndarray:
    """Whether the frame so many rows later is of the same uninterrupted trajectory."""
    assert frames.order is not None
    n = rows.stop - rows.start
    later = np.minimum(np.arange(rows.start, rows.stop) + steps, len(frames) - 1)
    whole = slice(rows.start, int(later[-1]) + 1)
    trajectory, order, later = frames.trajectory[whole], frames.order[whole], later - rows.start
    return (trajectory[:n] == trajectory[later]) & (order[later] - order[:n] == steps * step)


def _positions(frames: Frames, rows: slice, like: Tensor | None) -> Tensor:
    x = torch.as_tensor(frames.gather(rows))
    return x if like is None else x.to(like)
