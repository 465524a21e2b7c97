"""The generator outside of absorbing sets, whose borders lie anywhere between the centres of cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu
from torch import Tensor

from bayescg.errors import ConfigError
from bayescg.truth.grid import Grid, log_mean_exp
from bayescg.truth.reduce import Reduced

__all__ = ["Open", "Region"]

Region = Callable[[Tensor], Any]
"""From coordinates (n, dim) to bool (n,): whether a point is in a set."""


class Open:
    """The cells outside of absorbing sets.

    Borders are found on the lines between centres by bisection; the conductance of such a line is that of its outer
    part (Shortley and Weller), which keeps the second order.

    Parameters
    ----------
    grid : Grid
    inside : ndarray of bool, (cells,)
        Whether the centre of a cell is in a set.
    reduced : Reduced
    member : callable
        Whether points of the system are in any of the sets.

    Attributes
    ----------
    outer, into : ndarray
        Cell outside and cell inside of each link across a border.
    fraction : ndarray
        Of such a link that lies outside.
    rate : ndarray
        From the outer cell to the border.
    fastest : float
        Largest rate out of a cell.

    Raises
    ------
    ConfigError
        The sets hold every cell.

    Examples
    --------
    >>> from bayescg.systems import Harmonic
    >>> from bayescg.truth.reduce import reduce
    >>> spring = reduce(Harmonic(), [], dynamics=True)
    >>> grid = Grid(spring.system, (100,))
    >>> space = Open(grid, grid.axes[0] > 1.03, spring, lambda x: x[:, 0] > 1.03)
    >>> space.outer, space.into, space.fraction.round(3)
    (array([56]), array([57]), array([0.783]))
    """

    def __init__(self, grid: Grid, inside: np.ndarray, reduced: Reduced, member: Region):
        self.free, self._grid = ~inside, grid
        if not self.free.any():
            raise ConfigError("the sets hold every cell: there is nothing to solve")
        i, j, log_c, axis = grid.links
        across = inside[i] != inside[j]
        swap = inside[i[across]]
        self.outer = np.where(swap, j[across], i[across])
        self.into = np.where(swap, i[across], j[across])
        direction = np.zeros((across.sum(), len(grid.shape)))
        direction[np.arange(len(direction)), axis[across]] = np.where(swap, -1.0, 1.0) * grid.widths[axis[across]]
        start, step = grid.points[self.outer], torch.from_numpy(direction)
        low, high = torch.zeros(len(step), dtype=torch.float64), torch.ones(len(step), dtype=torch.float64)
        for _ in range(40):
            middle = 0.5 * (low + high)
            hit = torch.from_numpy(np.asarray(member(reduced.lift(start + middle[:, None] * step)), dtype=bool))
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
        self.fraction = high.clamp_min(1e-6).numpy()
        half, border = start + 0.5 * high[:, None] * step, start + high[:, None] * step
        energies = grid.energy[self.outer], grid.reduced_energy(half), grid.reduced_energy(border)
        resistance = np.logaddexp(log_mean_exp(*energies[:2]), log_mean_exp(*energies[1:])) - np.log(2.0)
        constant = grid.diffusion_at(half, axis[across])
        self.rate = constant * np.exp(energies[0] - resistance) / (grid.widths[axis[across]] ** 2 * self.fraction)

        within = self.free[i] & self.free[j]
        rows, columns = np.concatenate([i[within], j[within]]), np.concatenate([j[within], i[within]])
        rates = np.exp(np.tile(log_c[within], 2) - grid.log_mass[rows])
        n = len(inside)
        out = np.bincount(rows, rates, n) + np.bincount(self.outer, self.rate, n)
        self.fastest = float(out.max())
        self._links, self._log_c = (i[within], j[within]), log_c[within]
        matrix: Any = sparse.csr_array((-rates, (rows, columns)), shape=(n, n)) + sparse.diags_array(out)
        self._solver = splu(sparse.csc_array(matrix[self.free][:, self.free]))

    def solve(self, source: np.ndarray) -> np.ndarray:
        """Solution outside of the sets, (cells,), for a source (cells,); zero within."""
        values = np.zeros(len(self.free))
        values[self.free] = self._solver.solve(source[self.free])
        return values

    def energy(self, f: np.ndarray, g: np.ndarray) -> float:
        """Dirichlet form of two functions (cells,) that vanish in the sets."""
        i, j = self._links
        border = np.exp(self._grid.log_mass[self.outer]) * self.rate
        return float(np.exp(self._log_c) @ ((f[i] - f[j]) * (g[i] - g[j])) + border @ (f[self.outer] * g[self.outer]))

    def apply(self, f: np.ndarray) -> np.ndarray:
        """Minus the generator on a function (cells,) that vanishes in the sets, from differences between neighbours."""
        (i, j), n = self._links, len(f)
        flow = f[i] - f[j]
        there = np.bincount(i, np.exp(self._log_c - self._grid.log_mass[i]) * flow, n)
        back = np.bincount(j, np.exp(self._log_c - self._grid.log_mass[j]) * flow, n)
        return there - back + np.bincount(self.outer, self.rate * f[self.outer], n)

    def extend(self, values: np.ndarray, within: np.ndarray) -> np.ndarray:
        """Continue the solution linearly into the sets, so that between two centres it meets `within` at the border."""
        there = within[self.into]
        ghost = there + (values[self.outer] - there) * (self.fraction - 1.0) / self.fraction
        total, count = (np.bincount(self.into, w, len(values)) for w in (ghost, np.ones(len(ghost))))
        continued = np.where(
            self.free, values, np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
        )
        array = continued.reshape(self._grid.shape)
        for _ in range(array.ndim - 1):  # corners, which only such continued cells lie next to
            array = np.where(np.isnan(array), _onward(array, self._grid.system.periodic), array)
        return np.where(np.isnan(array), within.reshape(array.shape), array).ravel()


def _onward(array: np.ndarray, periodic: Sequence[bool]) -> np.ndarray:
    """Mean of the linear continuations of each cell's two next cells along any axis; NaN where none is known."""
    guesses = []
    for axis, wraps in enumerate(periodic):
        width = [(2, 2) if k == axis else (0, 0) for k in range(array.ndim)]
        padded = np.pad(array, width, "wrap") if wraps else np.pad(array, width, constant_values=np.nan)
        size = array.shape[axis]
        at = {k: np.take(padded, np.arange(2 + k, 2 + k + size), axis) for k in (-2, -1, 1, 2)}
        guesses += [2.0 * at[1] - at[2], 2.0 * at[-1] - at[-2]]
    finite = ~np.isnan(guesses)
    count = finite.sum(0)
    return np.divide(np.where(finite, guesses, 0.0).sum(0), count, out=np.full(array.shape, np.nan), where=count > 0)
