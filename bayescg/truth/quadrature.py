"""Partition functions, means and free energies at equilibrium, by the midpoint rule in the parts that matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts
from bayescg.errors import ConfigError
from bayescg.systems.core import System
from bayescg.truth.exact import Exact, extrapolate
from bayescg.truth.grid import Grid, refinements
from bayescg.truth.reduce import Reduced, analytic, reduce, values_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ExactFreeEnergy", "expectation", "free_energy", "log_partition"]

LOW_ENERGY = 15.0
"""Bins reach over all cells at most this many kT above the lowest."""


def log_partition(
    system: System,
    *,
    box: Sequence[Any] | None = None,
    periodic: Sequence[bool] | bool | None = None,
    cells: int = 20_000,
) -> Exact:
    r"""Logarithm of :math:`Z = \int e^{-U(x) / kT} dx`.

    Parameters
    ----------
    system : System
        Of up to three dimensions, or one of :mod:`bayescg.systems` that separates into such parts.
    box, periodic, cells
        As for :func:`bayescg.truth.spectrum`.

    Returns
    -------
    Exact

    Raises
    ------
    ConfigError
        The system has too many dimensions and does not separate, needs a box, or leaves the one it has.

    Examples
    --------
    >>> from bayescg.systems import ManyWell32
    >>> log_z = log_partition(ManyWell32())
    >>> round(log_z.value, 5), log_z.error < 1e-8
    (164.69568, True)
    """
    parts = [part.system for part in analytic(system, box, periodic).parts]
    answers: dict[int, tuple[float, float]] = {}
    for part in parts:
        if id(part) not in answers:
            grids = refinements(part, cells)
            value, error = _extrapolated(grids, [np.array(grid.log_partition) for grid in grids])
            answers[id(part)] = float(value), float(error) + grids[0].outside
    return Exact(sum(answers[id(part)][0] for part in parts), sum(answers[id(part)][1] for part in parts))


def expectation(
    system: System,
    observable: Callable[[Tensor], Any],
    *,
    box: Sequence[Any] | None = None,
    periodic: Sequence[bool] | bool | None = None,
    cells: int = 20_000,
) -> Exact:
    """Mean of an observable at equilibrium.

    Parameters
    ----------
    system : System
        Of up to three dimensions, or one that separates into parts of which the observable concerns no more.
    observable : callable
        From (n, dim) to (n,), smooth; for the probability of a region use :func:`free_energy`.
    box, periodic, cells
        As for :func:`bayescg.truth.spectrum`.

    Returns
    -------
    Exact

    Raises
    ------
    ConfigError
        The observable concerns more than three coordinates, or is not finite.

    Examples
    --------
    >>> from bayescg.systems import DoubleWell
    >>> round(float(expectation(DoubleWell(), lambda x: x[:, 0])), 5)
    -2.4411
    """
    reduced = reduce(analytic(system, box, periodic), [observable], dynamics=False)
    grids = refinements(reduced.system, cells)
    values = [values_of(observable, reduced.lift(grid.points)) for grid in grids]
    means = [np.array(grid.mass @ v) for grid, v in zip(grids, values, strict=True)]
    value, error = _extrapolated(grids, means)
    return Exact(float(value), float(error) + grids[0].outside * float(np.abs(values[0]).max()))


@dataclass(frozen=True)
class ExactFreeEnergy:
    """Free energy along a CV at equilibrium.

    Attributes
    ----------
    profile : DataArray, (bin)
        In kT; zero at the lowest bin, infinite where no cell reaches.
    error : DataArray, (bin)
        Estimated absolute error in kT.
    edges : ndarray, (bins + 1,)
    """

    profile: xr.DataArray
    error: xr.DataArray
    edges: np.ndarray
    _probability: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = field(repr=False)

    def difference(self, a: tuple[float, float], b: tuple[float, float]) -> Exact:
        r"""Free energy of region `b` minus that of region `a`, :math:`-\ln(P_b / P_a)`, in kT.

        Parameters
        ----------
        a, b : (lo, hi)
            Intervals of the CV; ends may be infinite.

        Returns
        -------
        Exact

        Raises
        ------
        ConfigError
            A region is empty, or holds no probability.
        """
        (p_a, error_a), (p_b, error_b) = self._mass(a), self._mass(b)
        if p_a <= 0.0 or p_b <= 0.0:
            raise ConfigError(f"the region {a if p_a <= 0.0 else b} holds no probability")
        with np.errstate(divide="ignore"):
            error = -np.log1p(-min(error_a / p_a, 1.0)) - np.log1p(-min(error_b / p_b, 1.0))
        return Exact(float(np.log(p_a / p_b)), float(error))

    def population(self, region: tuple[float, float]) -> Exact:
        """Probability of a region of the CV, (lo, hi)."""
        return Exact(*self._mass(region))

    def _mass(self, region: tuple[float, float]) -> tuple[float, float]:
        edges = np.asarray(region, dtype=np.float64)
        if edges.shape != (2,) or not edges[0] < edges[1]:
            raise ConfigError(f"a region of the CV is (lo, hi) with lo < hi, not {region!r}")
        value, error = self._probability(edges)
        return float(value[0]), float(error[0])


def free_energy(
    system: System,
    cv: Callable[[Tensor], Tensor],
    bins: int | Sequence[float] | np.ndarray = 80,
    *,
    range: tuple[float, float] | None = None,
    box: Sequence[Any] | None = None,
    periodic: Sequence[bool] | bool | None = None,
    cells: int = 100_000,
) -> ExactFreeEnergy:
    r"""Free energy :math:`F(s) = -kT \ln p(s)` along a CV, in bins.

    Within each cell of a grid the CV is taken as linear and the density as constant, which gives the cell's share of
    every bin in closed form; the error is of second order in the width of the cells, not of the bins.

    Parameters
    ----------
    system : System
        Of up to three dimensions, or one that separates into parts of which the CV concerns no more.
    cv : callable
        Torch function from (n, dim) to (n,); where it has a gradient, that is used.
    bins : int, or sequence of float
        Number of equal bins, or their edges.
    range : (lo, hi), optional
        Of equal bins; default: all that lies less than 15 kT above the lowest energy.
    box, periodic, cells
        As for :func:`bayescg.truth.spectrum`.

    Returns
    -------
    ExactFreeEnergy

    Raises
    ------
    ConfigError
        The CV concerns more than three coordinates, is not finite or is constant, or the bins make no sense.

    Examples
    --------
    >>> from bayescg.systems import DoubleWell
    >>> fes = free_energy(DoubleWell(), lambda x: x[:, 0], bins=60)
    >>> right = fes.difference((-np.inf, 0.16745), (0.16745, np.inf))
    >>> round(right.value, 4), right.error < 1e-4
    (4.7776, True)
    """
    import xarray as xr

    reduced = reduce(analytic(system, box, periodic), [cv], dynamics=False)
    levels = [_Spread(grid, reduced, cv) for grid in refinements(reduced.system, cells)]
    edges = _edges(bins, range, levels[0])

    def probability(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        masses = [level.probability(edges) for level in levels]
        value, error = _extrapolated([level.grid for level in levels], masses)
        error = np.maximum(error, np.abs(value - masses[0]))  # how cells and edges meet changes from grid to grid
        rough = np.abs(masses[0] - masses[2])
        smooth = rough < 0.2 * masses[0]  # elsewhere, mostly in the tails, extrapolation could leave a negative mass
        return np.where(smooth, value, masses[0]), np.where(smooth, error, rough) + levels[0].grid.outside

    mass, error = probability(edges)
    with np.errstate(divide="ignore"):
        profile = -np.log(mass)
        relative = np.divide(error, mass, out=np.ones_like(mass), where=mass > error)
        uncertain = -np.log1p(-relative)  # infinite where the error is as large as the mass
    lowest = int(profile.argmin())
    if not np.isfinite(profile[lowest]):
        raise ConfigError("no bin holds any probability: use other edges, or another range=")
    centres = {"bin": 0.5 * (edges[1:] + edges[:-1])}
    return ExactFreeEnergy(
        profile=xr.DataArray(profile - profile[lowest], centres, ("bin",), "free_energy", {"unit": "kT"}),
        error=xr.DataArray(uncertain + uncertain[lowest], centres, ("bin",), "error", {"unit": "kT"}),
        edges=edges,
        _probability=probability,
    )


class _Spread:
    """How the mass of each cell of a grid is spread over the values of a CV."""

    def __init__(self, grid: Grid, reduced: Reduced, cv: Callable[[Tensor], Tensor]):
        self.grid = grid
        self.centre = values_of(cv, reduced.lift(grid.points))
        with torch.enable_grad():
            z = grid.points.clone().requires_grad_()
            values = torch.as_tensor(cv(reduced.lift(z)))
            gradient = torch.autograd.grad(values.sum(), z)[0] if values.requires_grad else torch.zeros_like(z)
        width = np.abs(np.nan_to_num(gradient.numpy())) * grid.widths
        # no side of a cell's image is taken as less than a hundredth of the longest: else the formula loses its digits
        self.width = np.maximum(width, np.maximum(0.01 * width.max(1), 1e-12 * np.ptp(self.centre))[:, None])

    def probability(self, edges: np.ndarray) -> np.ndarray:
        """Probability of the CV between consecutive edges."""
        total = np.zeros(len(edges) - 1)
        for rows in np.array_split(np.arange(len(self.centre)), 1 + len(self.centre) * len(edges) // 10**6):
            below = _below(edges - self.centre[rows, None], self.width[rows])
            total += self.grid.mass[rows] @ np.diff(below, axis=1)
        return total


def _below(offset: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Probability that a sum of uniform variables of given widths (n, d), about 0, lies below each offset (n, k)."""
    half = 0.5 * width.sum(1, keepdims=True)
    offset = offset.clip(-half, half)
    dim, result = width.shape[1], np.zeros_like(offset)
    for corner in np.ndindex(*(2,) * dim):
        signs = 1.0 - 2.0 * np.array(corner)
        result += signs.prod() * np.maximum(offset + 0.5 * (width @ signs)[:, None], 0.0) ** dim
    return (result / (factorial(dim) * width.prod(1, keepdims=True))).clip(0.0, 1.0)


def _edges(bins: Any, limits: tuple[float, float] | None, level: _Spread) -> np.ndarray:
    if np.ndim(bins) == 0:
        check_counts(bins=(bins, 1))
        if limits is None:
            low = level.grid.energy <= level.grid.energy.min() + LOW_ENERGY
            limits = (float(level.centre[low].min()), float(level.centre[low].max()))
        edges = np.linspace(*limits, int(bins) + 1)
    else:
        edges = np.asarray(bins, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise ConfigError(f"bins={bins!r}, range={limits!r}: edges must ascend, and the CV must not be constant")
    return edges


def _extrapolated(grids: list[Grid], values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return extrapolate(values, [float(grid.widths[0]) for grid in grids])
