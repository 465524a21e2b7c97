"""Blocks of frames that are long against the memory of the slow modes themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from bayescg.analysis.kinetics.balanced import Balanced
from bayescg.analysis.kinetics.covariances import Covariances
from bayescg.analysis.kinetics.galerkin import Modes, reduced, solve
from bayescg.data import statistical_inefficiency
from bayescg.data.split import blocks

__all__ = ["Blocks", "blocks_of", "longer_than"]

LARGEST_NUMBER = 100


@dataclass(frozen=True)
class Blocks:
    """Which block each cell belongs to, and why.

    Attributes
    ----------
    ids : ndarray of int, (cells,)
    inefficiency : float
        Statistical inefficiency of the slow modes, as a part of all frames.
    enough : bool
        Whether blocks are long enough.
    share : ndarray, (modes,)
        Part of the frames that each slow mode lives on: Kish's effective part of all, weighted by its square.
    """

    ids: np.ndarray
    inefficiency: float
    enough: bool
    share: np.ndarray = field(default_factory=lambda: np.ones(1))

    @property
    def count(self) -> int:
        """Number of blocks."""
        return int(self.ids[-1]) + 1


def blocks_of(cells: Covariances, modes: int, ordered: bool) -> Blocks:
    """Blocks for eigenvalues: what counts is the memory of the influence that frames have on them.

    It is often much shorter than that of the modes themselves, which change the eigenvalues in second order only,
    through the mean that is taken off.

    Parameters
    ----------
    cells : Covariances
        Of short contiguous cells.
    modes : int
        Of the slowest that count.
    ordered : bool
        Whether neighbouring cells are neighbours in time.
    """
    if isinstance(cells, Balanced):
        return Blocks(np.arange(len(cells)), 0.0, True, np.ones(modes))
    small = cells.projected(reduced(cells.few(), modes))
    slowest = solve(small, np.ones((1, len(cells))), modes)
    slow, pull, square = influence(small, slowest)
    share = square.sum(0) ** 2 / (small.weight.sum() * (square**2 / small.weight[:, None]).sum(0))
    return replace(longer_than(slow, pull, cells.run, ordered), share=share)


def longer_than(slow: np.ndarray, influence: np.ndarray, run: np.ndarray, ordered: bool) -> Blocks:
    """Contiguous cells that belong together: 5 to 10 statistical inefficiencies g, and about 10 to 100 blocks.

    Blocks of 5 g lose a tenth of the variance, those of 10 g a twentieth. Longer blocks are fewer, and then the error
    bars are themselves uncertain.

    Parameters
    ----------
    slow : ndarray, (cells, some)
        Series that matter in second order only, for which 3 g are enough.
    influence : ndarray, (cells, some)
        Of the cells on the results; of several columns the slowest counts.
    run : ndarray of int, (cells,)
        Which uninterrupted run of frames a cell is a part of.
    ordered : bool
        Whether neighbouring cells are neighbours in time.
    """
    n = len(run)
    longest = int(np.bincount(run).max())
    if not ordered or longest < 4:
        return Blocks(np.arange(n) * min(n, LARGEST_NUMBER) // n, 0.0, True)
    memory, g = (statistical_inefficiency(series, run) for series in (slow, influence))
    least = max(5 * g, 3 * memory)
    length = max(least, min(10 * g, n / 20), n / LARGEST_NUMBER)
    length = int(max(1, min(np.ceil(length), n // 10)))
    # trajectories are independent: one shorter than that is a block by itself
    return Blocks(blocks(run, None, length), memory / n, length >= least or length >= longest)


def influence(cov: Covariances, modes: Modes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums over each cell of the modes, of their influence on their Rayleigh quotients, and of their squares.

    Each is (cells, modes).

    An eigenvalue q changes by the mean of :math:`a_t - q b_t`, with a and b the mode's integrands of Dirichlet form
    and variance, when frames are weighted anew.
    """
    c, q, centre = modes.vectors[0], modes.values[0], modes.mean[0] @ modes.vectors[0]
    w, first = cov.weight[:, None], cov.first @ c
    a, b = (np.einsum("nij,ik,jk->nk", s, c, c, optimize=True) for s in (cov.dirichlet, cov.second))
    square = b - 2 * first * centre + w * centre**2
    return first - w * centre, a - q * square, square
