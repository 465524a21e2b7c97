"""Weights that turn frames of trajectories begun anywhere into frames at equilibrium."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.data.evenly import evenly
from bayescg.data.frame_checks import run_starts
from bayescg.data.pairs import steps_of
from bayescg.data.split import spacing
from bayescg.data.store import computed
from bayescg.errors import ConfigError, DataError

__all__ = ["Koopman", "koopman"]

_FEWEST_TRAJECTORIES = 10
_FEWEST_FUNCTIONS = 10
_MOST_BLOCKS = 200
_MOST_NEGATIVE = 0.25
_MOST_BLURRED = 2.0
_MOST_STILL = 0.01
_MOST_APART = 4.0
_CUT = 1e-6  # of the largest variance: what is less is taken for a linear dependence
_ROWS = 65_536
_SAMPLE = 20_000
_DRAWS = 200
_UNKNOWN = "the trajectories do not say how probable frames are at equilibrium"
_LONGER = (
    "Simulate longer trajectories or more of them, begin some on the way between the regions, or use a shorter lag"
)


@dataclass(frozen=True, eq=False)
class Koopman:
    r"""What :meth:`Frames.equilibrium` knows, as columns beside the frames.

    A frame from which a trajectory goes on for a lag weighs :math:`w = \sum_k u_k \phi_k`, in functions :math:`\phi` of
    which the first is one; the last frames of trajectories weigh nothing. The coefficients u are solved for anew in
    every draw of an analysis, from sums over blocks of whole trajectories.

    Attributes
    ----------
    values : array, (n, m)
        Functions of the frames, of about unit variance and uncorrelated.
    begins : ndarray of bool, (n,)
        Whether a trajectory goes on from a frame for a lag.
    block : ndarray of int, (n,)
        Block of each frame: its trajectory, or several of them where there are more than 200.
    drift : ndarray, (blocks, m, m)
        Sums over pairs of :math:`\phi_k(x_t) [\phi_l(x_{t+\tau}) - \phi_l(x_t)]`.
    held : ndarray, (blocks, m)
        Sums of the functions over the frames that begin pairs.
    lag : float
    basis : callable
        What the functions were made of.
    negative : float
        Of the sum of all absolute weights, the part of negative ones.
    effective : float
        Of the frames, the part that their weights are worth (Kish).
    blurred : float
        Square error of the weights, as a part of their mean square: nine tenths of the draws are below.
    apart : float
        Averages of the functions under these weights and under those of twice the lag: the largest difference, in
        standard deviations. NaN where trajectories are too short.
    warnings : tuple of str
    """

    values: Any
    begins: np.ndarray
    block: np.ndarray
    drift: np.ndarray
    held: np.ndarray
    lag: float
    basis: Any
    negative: float
    effective: float
    blurred: float
    apart: float
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, index: Any) -> Koopman:
        return replace(self, values=self.values[index], begins=self.begins[index], block=self.block[index])

    @property
    def blocks(self) -> int:
        """How many there are."""
        return len(self.drift)

    def coefficients(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Coefficients u (draws, m) where blocks count differently, (draws, blocks); without these alike, (1, m).

        Where the sum of the weights would be negative, in at most one of a hundred draws, they are those of all blocks
        alike.
        """
        u = _balanced(self.drift, weights)
        if weights is None:
            return u
        positive = np.einsum("dk,db,bk->d", u, weights, self.held, optimize=True) > 0
        return np.where(positive[:, None], u, self.coefficients())

    def weights(self) -> np.ndarray:
        """Of the frames, (n,), some of them negative."""
        return _weights(self.values, self.begins, self.coefficients()[0])


def koopman(frames: Any, basis: Any, lag: float) -> Koopman:
    """Equilibrium weights of `Frames` in the span of functions; see :meth:`Frames.equilibrium`.

    Raises
    ------
    DataError
    ConfigError
    """
    functions, like = _functions(basis)
    if frames.dt is None or frames.order is None:
        raise DataError("these frames have no time axis, so there is no lag: give dt= where they are loaded")
    if frames.bias is not None or (frames.weights is not None and frames.koopman is None):
        raise DataError("these frames have weights already: equilibrium weights are those of unbiased trajectories")
    gap = spacing(frames.order)
    steps = steps_of(lag, frames.dt * gap)
    starts = run_starts(frames.trajectory)
    numbers = np.unique(frames.trajectory[starts], return_inverse=True)[1].astype(np.int32)
    trajectory = np.repeat(numbers, np.diff(starts, append=len(frames)))
    block = (trajectory % _MOST_BLOCKS).astype(np.int32)
    phi = _whitened(functions, frames, like)
    drift, gram, begins = _sums(phi, frames, block, steps, gap)
    count, long = int(trajectory.max()) + 1, len(np.unique(trajectory[begins]))
    if long < _FEWEST_TRAJECTORIES:
        raise DataError(
            f"{long} of {count} trajectories are longer than the lag {lag:g}: fewer than {_FEWEST_TRAJECTORIES} cannot "
            "show how far their equilibrium weights are to be trusted; use more trajectories, or a shorter lag"
        )
    draws = np.random.default_rng(0).dirichlet(np.ones(len(drift)), _DRAWS) * len(drift)
    if (still := float((_slowest(drift, gram, draws) <= 0).mean())) > _MOST_STILL:
        raise DataError(
            f"{_UNKNOWN}: in {still:.0%} of the draws the slowest change cannot be told from none. {_LONGER}"
        )
    u, u_draws, sums = _balanced(drift)[0], _balanced(drift, draws), gram.sum(0)
    w = _weights(phi, begins, u)
    negative = float(-w[w < 0].sum() / np.abs(w).sum())
    square = (u @ sums @ u) / (u @ sums[0]) ** 2
    error = u_draws / (u_draws @ sums[0])[:, None] - u / (u @ sums[0])
    blurred = float(np.quantile(np.einsum("dk,kl,dl->d", error, sums, error), 0.9) / square)
    if not (u @ sums[0] > 0 and negative <= _MOST_NEGATIVE and blurred <= _MOST_BLURRED):
        raise DataError(
            f"{_UNKNOWN}: {negative:.0%} of their weights would be negative, and errors of the weights {blurred:.2g} "
            f"times as large as they are, by their squares. {_LONGER}"
        )
    apart, twice = np.nan, _sums(phi, frames, block, 2 * steps, gap)
    if len(np.unique(trajectory[twice[2]])) >= _FEWEST_TRAJECTORIES:
        apart = _apart((drift, gram), twice[:2], draws)
    doubts = tuple(_doubts(phi.shape[1] - 1, apart, lag))
    for doubt in doubts:
        warnings.warn(doubt, stacklevel=3)
    return Koopman(
        phi, begins, block, drift, gram[:, :, 0], steps * frames.dt * gap, basis, negative, float(1 / square / len(w)),
        blurred, apart, doubts,
    )  # fmt: skip


def _functions(basis: Any) -> tuple[Any, Tensor | None]:
    """Of a fit, a model or a callable, and what positions must be like."""
    model = getattr(basis, "model", basis)
    if isinstance(model, torch.nn.Module) and hasattr(model, "basis"):
        return model.basis, next(model.parameters(), None)
    if not callable(basis) or isinstance(basis, torch.nn.Module):
        raise ConfigError(
            f"{type(model).__name__} has no basis of functions: give a fit whose model has one, or a function from "
            "positions to (n, functions)"
        )
    return basis, None


def _evaluated(functions: Callable[[Tensor], Tensor], frames: Any, rows: Any, like: Tensor | None) -> np.ndarray:
    x = torch.as_tensor(frames.gather(rows))
    with torch.no_grad():
        u = functions(x if like is None else x.to(like))
    if not torch.is_tensor(u) or u.ndim != 2 or len(u) != len(x):
        what = tuple(u.shape) if torch.is_tensor(u) else f"a {type(u).__name__}"
        raise DataError(f"the basis must map {len(x)} frames to a tensor ({len(x)}, functions), not {what}")
    if not u.isfinite().all():
        raise DataError("the functions of the basis are not finite for some frames")
    return u.cpu().double().numpy()


def _whitened(functions: Callable[[Tensor], Tensor], frames: Any, like: Tensor | None) -> np.ndarray:
    """One, and combinations of the functions, of all frames (n, m): in single precision, as they are only a basis."""
    u = _evaluated(functions, frames, evenly(frames, _SAMPLE), like)
    mean = u.mean(0)
    spread, directions = np.linalg.eigh(np.cov(u.T).reshape(len(mean), -1))
    used = spread > _CUT * spread[-1]
    if not (spread[-1] > 0 and used.any()):
        raise DataError("none of the functions of the basis varies over these frames")
    turn = directions[:, used] / np.sqrt(spread[used])
    white = lambda u: np.concatenate([np.ones((len(u), 1)), (u - mean) @ turn], 1).astype(np.float32)  # noqa: E731
    pieces = lambda rows: [slice(a, min(a + 4096, rows.stop)) for a in range(rows.start, rows.stop, 4096)]  # noqa: E731
    return computed(
        len(frames), lambda rows: np.concatenate([white(_evaluated(functions, frames, r, like)) for r in pieces(rows)])
    )


def _sums(
    phi: np.ndarray, frames: Any, block: np.ndarray, steps: int, gap: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Over the pairs of each block, products with changes and with each other (blocks, m, m); and who begins a pair."""
    n, m = phi.shape
    drift, gram = np.zeros((2, int(block.max()) + 1, m, m))
    begins = np.zeros(n, dtype=bool)
    for start in range(0, max(n - steps, 0), _ROWS):
        stop = min(start + _ROWS, n - steps)
        now, later = slice(start, stop), slice(start + steps, stop + steps)
        within = (frames.trajectory[now] == frames.trajectory[later]) & (
            frames.order[later] - frames.order[now] == steps * gap
        )
        begins[now] = within
        rows = np.flatnonzero(within)
        rows = rows[np.argsort(block[now][rows], kind="stable")]
        first, last = (np.asarray(phi[part], np.float64)[rows] for part in (now, later))
        of = block[now][rows]
        edges = np.r_[0, np.flatnonzero(np.diff(of)) + 1, len(of)]
        for a, b in pairwise(edges):
            if b > a:
                drift[of[a]] += first[a:b].T @ (last[a:b] - first[a:b])
                gram[of[a]] += first[a:b].T @ first[a:b]
    return drift, gram, begins


def _balanced(drift: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Coefficients (draws, m) of the weights under which averages of the functions do not change in a lag."""
    total = np.tensordot(np.ones((1, len(drift))) if weights is None else weights, drift, 1)
    try:
        rest = -np.linalg.solve(total[:, 1:, 1:].transpose(0, 2, 1), total[:, 0, 1:, None])[..., 0]
    except np.linalg.LinAlgError:
        raise DataError(f"{_UNKNOWN}: there are regions that none of them leaves or enters. {_LONGER}") from None
    return np.concatenate([np.ones((len(rest), 1)), rest], 1)


def _slowest(drift: np.ndarray, gram: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Part of the slowest combination of the functions that is lost in a lag, (draws,), where trajectories began."""
    change, square = (np.tensordot(weights, a, 1) for a in (drift, gram))
    mean = square[:, 1:, :1] / square[:, :1, :1]
    change = change[:, 1:, 1:] - mean * change[:, :1, 1:]
    square = square[:, 1:, 1:] - mean * square[:, :1, 1:]
    return np.linalg.eigvals(-np.linalg.pinv(square, hermitian=True) @ change).real.min(1)


def _weights(phi: np.ndarray, begins: np.ndarray, u: np.ndarray) -> np.ndarray:
    return computed(len(begins), lambda rows: np.where(begins[rows], np.asarray(phi[rows], np.float64) @ u, 0.0))


def _apart(once: tuple[np.ndarray, np.ndarray], twice: tuple[np.ndarray, np.ndarray], draws: np.ndarray) -> float:
    """Largest difference of averages at a lag and at twice it, in standard deviations of draws of the blocks."""
    differences = []
    for weights in (np.ones((1, draws.shape[1])), draws):
        means = []
        for drift, gram in (once, twice):
            sums = np.einsum("dk,dkl->dl", _balanced(drift, weights), np.tensordot(weights, gram, 1))
            means.append(sums[:, 1:] / sums[:, :1])
        differences.append(means[1] - means[0])
    low, high = np.quantile(differences[1], [0.16, 0.84], axis=0)
    return float((np.abs(differences[0][0]) / np.maximum((high - low) / 2, 1e-12)).max())


def _doubts(functions: int, apart: float, lag: float) -> Iterator[str]:
    if functions < _FEWEST_FUNCTIONS:
        yield (
            f"equilibrium weights in {functions} functions: fewer than {_FEWEST_FUNCTIONS}, or slow eigenfunctions "
            "alone, leave a bias that error bars do not hold; give a basis of more, such as a fit with more states"
        )
    if apart > _MOST_APART:
        yield (
            f"equilibrium weights at lag {lag:g} and at twice that differ by {apart:.1f} standard deviations: use a "
            "longer lag, or more functions"
        )
