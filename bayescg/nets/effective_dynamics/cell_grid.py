"""Cells of one variable: where values lie, how many there should be, and how often one leads to another."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import ceil, pi
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from bayescg.errors import DataError

__all__ = ["CellGrid", "enough_cells", "mean_squares", "span_of"]

_BEYOND = 0.02
"""Part of the range by which a value may lie beyond it."""
_FURTHEST = 0.5
"""The same of the few that a fold or later frames of the same ensemble have further out."""
_CELL = 0.12
"""Width of a cell, in root mean square displacements of a lag: at 0.15 the bias of D is 0.8 %, at 0.24 1.6 %."""
_MOST_CELLS = 400
_FEWEST_CELLS = 60
_NODES = 400
"""Places between which a bias is interpolated."""
_OF_OTHERS, _FEW = 0.1, 0.01
"""kT by which a bias may differ among frames of one value, and how many frames may have others."""


@dataclass(frozen=True)
class CellGrid:
    """A range that is divided evenly.

    Parameters
    ----------
    low, high : float
    periodic : bool
        Whether the ends are one place.
    cells : int
        None where that is not known yet.

    Examples
    --------
    >>> grid = CellGrid(0.0, 2.0, periodic=False, cells=4)
    >>> grid.width, grid.cell(torch.tensor([[0.1], [1.2], [9.0]]))
    (0.5, tensor([0, 2, 3]))
    """

    low: float
    high: float
    periodic: bool
    cells: int

    @property
    def width(self) -> float:
        """Of a cell."""
        return (self.high - self.low) / self.cells

    def place(self, z: Tensor) -> Tensor:
        """Of values ``(n, 1)`` in the range, ``(n,)``, 0 at its low end and 1 at its high one."""
        return (z[:, 0] - self.low) / (self.high - self.low)

    def cell(self, z: Any) -> Tensor:
        """Cells ``(n,)`` of values ``(n, 1)``; those beyond the range are in the last ones, angles where they are."""
        place = self.place(z)
        place = place.remainder(1.0) if self.periodic else place
        return (place * self.cells).long().clamp(0, self.cells - 1)

    def middles_and_borders(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the middles of cells ``(cells,)``, and of the borders of neighbours, where periodic as many."""
        place = torch.arange(self.cells + 1).to(like) / self.cells
        return place[:-1] + 0.5 / self.cells, place[1:] if self.periodic else place[1:-1]

    def bias_in_cells(self, z: Tensor, energies: Tensor) -> Tensor:
        """Biases in the middles of cells, ``(windows, cells)``, of ``(n, windows)`` known at values ``(n, 1)``, in kT.

        Raises
        ------
        DataError
            They are no functions of the value.
        """
        place, values = (a.double().cpu().numpy() for a in (self.place(z), energies))
        within = np.floor(2 * _NODES * (place - place.min()) / (np.ptp(place) or 1.0)).astype(int)
        nodes = np.unique(within, return_index=True)[1]
        nodes = nodes[within[nodes] % 2 == 0]  # no two of them close together
        if len(nodes) < 4:
            raise DataError("the frames hardly move along the variable: what the bias is of it is not known")
        spline = CubicSpline(place[nodes], values[nodes])
        off = np.abs(spline(place) - values).max(1) > _OF_OTHERS
        if off.mean() > _FEW:
            raise DataError(
                f"the bias of {off.mean():.0%} of the frames is not that of others with the same value: it is along "
                "another variable. Fit the dynamics of the one that the windows are along"
            )
        middles = self.middles_and_borders(torch.zeros((), dtype=torch.float64))[0]
        return torch.as_tensor(spline(middles.numpy()).T)

    def check_inside(self, now: Tensor, later: Tensor) -> None:
        """Refuse values ``(n, 1)`` now and later whose density is not known.

        Raises
        ------
        DataError
            More than three and 1 % of them lie beyond the range, or one does by half of it.
        """
        past = (torch.stack([self.place(now), self.place(later)]) - 0.5).abs().amax(0) - 0.5
        many = int((past > _BEYOND).sum())
        if many > max(3, 0.01 * len(past)) or (past > _FURTHEST).any():
            raise DataError(
                f"{many} of {len(past)} pairs ({100 * many / len(past):.3g} %) lie beyond the range {self.low:.4g} to "
                f"{self.high:.4g} of the grid, where their density is not known: leave them out, or fit an "
                "EffectiveDynamics(low=..., high=...) whose range holds all frames"
            )


def span_of(now: Tensor, later: Tensor, periodic: bool) -> tuple[float, float]:
    """Ends of a range that holds values ``(n,)`` and those that others of their ensemble may have; a turn of angles.

    Raises
    ------
    DataError
        All are the same.

    Examples
    --------
    >>> span_of(torch.tensor([0.0, 100.0]), torch.tensor([50.0, 0.0]), False)
    (-2.0, 102.0)
    """
    low, high = float(torch.minimum(now, later).min()), float(torch.maximum(now, later).max())
    if not low < high:
        raise DataError("the variable is the same in all frames: there is no dynamics of it")
    margin = _BEYOND * (high - low)
    return (-pi, pi) if periodic else (low - margin, high + margin)


def mean_squares(now: Tensor, later: Tensor, periodic: bool) -> tuple[Tensor, Tensor]:
    """Mean square displacement of values ``(n,)``, and the least of those of twentieths that begin side by side.

    Parameters
    ----------
    now, later : Tensor, (n,)
    periodic : bool
        Whether they are angles.

    Examples
    --------
    >>> mean_squares(torch.zeros(40), torch.ones(40), False)
    (tensor(1.), tensor(1.))
    """
    moved = later - now
    if periodic:
        moved = torch.remainder(moved + pi, 2 * pi) - pi
    square = moved[now.argsort()].square()
    least = torch.stack([part.mean() for part in square.tensor_split(20) if len(part)]).clamp_min(1e-30).min()
    return square.mean(), least


def enough_cells(extent: float, step: float, lag: float) -> int:
    """So many cells of a range of that extent that they are small against a step of a lag.

    Warns
    -----
    UserWarning
        The lag is so short that the grid is too coarse for it.

    Examples
    --------
    >>> enough_cells(12.0, 1.0, 1.0)
    100
    """
    wanted = ceil(extent / (_CELL * step))
    if wanted > 2 * _MOST_CELLS:
        warnings.warn(
            f"in a lag of {lag:g} the variable moves by as little as {step:.2g}, less than {2 * _MOST_CELLS} cells of "
            "its range resolve: D comes out too large; use a longer lag",
            stacklevel=3,
        )
    return min(max(wanted, _FEWEST_CELLS), _MOST_CELLS)
