"""What an exact answer is made of: numbers and functions, each with an estimate of its own error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.interpolate import RegularGridInterpolator
from torch import Tensor

from bayescg.truth.grid import Grid

__all__ = ["Exact", "GridFunction", "extrapolate"]


@dataclass(frozen=True)
class Exact:
    """A number that is known up to `error`.

    Attributes
    ----------
    value : float
    error : float
        Estimated absolute error, from refinement.

    Examples
    --------
    >>> float(Exact(4.7776, 1e-9))
    4.7776
    """

    value: float
    error: float

    def __float__(self) -> float:
        return self.value


def extrapolate(values: list[np.ndarray], widths: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Richardson's extrapolation of second-order values on three grids, with its error.

    Parameters
    ----------
    values : list of three ndarray
        From the finest grid to the coarsest.
    widths : list of three float
        Of the cells.

    Returns
    -------
    value, error : ndarray
        The error is 2.5 times the change from extrapolating the coarser two, enough for any remaining error of at
        least first order, as points or lines without derivatives leave; and no less than a tenth of what extrapolation
        changed.

    Examples
    --------
    >>> h = [0.1, 0.141, 0.2]
    >>> value, error = extrapolate([np.array(1.0 + w**2 + w**4) for w in h], h)
    >>> bool(abs(value - 1.0) < error)
    True
    """
    square = np.square(widths)
    finer = (values[0] * square[1] - values[1] * square[0]) / (square[1] - square[0])
    coarser = (values[1] * square[2] - values[2] * square[1]) / (square[2] - square[1])
    return finer, np.maximum(2.5 * np.abs(finer - coarser), 0.1 * np.abs(finer - values[0]))


@dataclass(frozen=True)
class GridFunction:
    """A function of a system's coordinates, linear between the centres of a grid's cells and constant beyond them.

    Attributes
    ----------
    error : float
        Estimated largest absolute error: what halving the cells changed, where it changed most.
    grid : Grid
    values : ndarray, (cells,)
    project : callable
        From the system's coordinates (n, dim) to the grid's.
    fixed : sequence of (callable, float)
        Sets of x, as functions to bool (n,), within which the function has a known value.

    Examples
    --------
    >>> from bayescg import systems, truth
    >>> well = systems.DoubleWell()
    >>> committor = truth.committor(well, lambda x: x[:, 0] < -2.0, lambda x: x[:, 0] > 2.0)
    >>> x = torch.tensor([[-3.0, 0.0], [0.1675, 0.0], [3.0, 1.0]])
    >>> committor(x), committor.error < 1e-5
    (tensor([0.0000, 0.4888, 1.0000]), True)
    """

    error: float
    grid: Grid = field(repr=False)
    values: np.ndarray = field(repr=False)
    project: Callable[[Tensor], Tensor] = field(repr=False)
    fixed: Sequence[tuple[Callable[[Tensor], Any], float]] = field(default=(), repr=False)

    def __call__(self, x: Tensor) -> Tensor:
        """Values at x, (..., dim) -> (...), in the precision of `x` and without gradient."""
        x = torch.as_tensor(x)
        flat = x.detach().reshape(-1, x.shape[-1]).double()
        values = interpolate(self.grid, self.values, self.project(flat).numpy())
        for inside, value in self.fixed:
            values[np.asarray(torch.as_tensor(inside(flat)), dtype=bool)] = value
        return torch.from_numpy(values.reshape(x.shape[:-1])).to(x.dtype)


def interpolate(grid: Grid, values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values on a grid, (cells,) or (cells, m), at points (n, dim) of its coordinates."""
    array = values.reshape(*grid.shape, *values.shape[1:])
    axes, points = list(grid.axes), points.copy()
    for k, ((low, high), wraps) in enumerate(zip(grid.system.box, grid.system.periodic, strict=True)):
        if wraps:
            points[:, k] = low + (points[:, k] - low) % (high - low)
            axes[k] = np.concatenate([[axes[k][-1] - (high - low)], axes[k], [axes[k][0] + (high - low)]])
            array = np.concatenate([np.take(array, [-1], k), array, np.take(array, [0], k)], k)
        else:
            points[:, k] = points[:, k].clip(axes[k][0], axes[k][-1])
    return RegularGridInterpolator(axes, array)(points)
