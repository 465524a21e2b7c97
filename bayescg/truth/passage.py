"""Committors and mean first-passage times of overdamped dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayescg.errors import ConfigError
from bayescg.systems.core import System
from bayescg.truth.absorbing import Open, Region
from bayescg.truth.exact import Exact, GridFunction, interpolate
from bayescg.truth.grid import Diffusion, Grid, refinements
from bayescg.truth.reduce import Reduced, analytic, reduce, values_of

__all__ = ["committor", "mean_first_passage_time", "reaction_rates"]

DIGITS = 1e-3
"""Relative error that rounding may cause."""


def committor(
    system: System,
    a: Region,
    b: Region,
    *,
    box: Sequence[Any] | None = None,
    periodic: Sequence[bool] | bool | None = None,
    diffusion: Diffusion = None,
    cells: int = 20_000,
) -> GridFunction:
    """Probability to reach set `b` before set `a`, from any point, by overdamped dynamics.

    Dynamics, grids and reductions are those of :func:`bayescg.truth.spectrum`. Borders of the sets are found between
    the centres of cells, so that the error is of second order.

    Parameters
    ----------
    system : System
        Of up to three dimensions, or one that separates into parts of which the sets concern no more.
    a, b : callable
        From (n, dim) to bool (n,): whether a point is in the set. A set narrower than a cell is not seen.
    box, periodic, diffusion, cells
        As for :func:`bayescg.truth.spectrum`.

    Returns
    -------
    GridFunction
        From coordinates (..., dim) to (...), with an `error`.

    Raises
    ------
    ConfigError
        The sets are empty, overlap, or concern too many coordinates; or the dynamics stays in neither for too long for
        double precision.

    Examples
    --------
    >>> import torch
    >>> from bayescg.systems import QuarticDoubleWell
    >>> q = committor(QuarticDoubleWell(), lambda x: x[:, 0] < -1.0, lambda x: x[:, 0] > 1.0)
    >>> q(torch.tensor([[-2.0], [0.0], [0.5]]))
    tensor([0.0000, 0.5000, 0.8249])
    """
    reduced = reduce(analytic(system, box, periodic), [a, b], dynamics=True, whole=callable(diffusion))
    solved = [_committor(grid, reduced, a, b) for grid in refinements(reduced.system, cells, diffusion)[::2]]
    return _function(solved, reduced, ((a, 0.0), (b, 1.0)))


def mean_first_passage_time(
    system: System,
    target: Region,
    *,
    box: Sequence[Any] | None = None,
    periodic: Sequence[bool] | bool | None = None,
    diffusion: Diffusion = None,
    cells: int = 20_000,
) -> GridFunction:
    """Mean time to reach a set, from any point, by overdamped dynamics.

    Parameters
    ----------
    system : System
        Of up to three dimensions, or one that separates into parts of which the set concerns no more.
    target : callable
        From (n, dim) to bool (n,): whether a point is in the set.
    box, periodic, diffusion, cells
        As for :func:`bayescg.truth.spectrum`.

    Returns
    -------
    GridFunction
        From coordinates (..., dim) to (...), with an `error`; in the unit of time of the diffusion constant.

    Raises
    ------
    ConfigError
        The set is empty, everything, or concerns too many coordinates; or the times are too long for double precision.

    Examples
    --------
    >>> import torch
    >>> from bayescg.systems import QuarticDoubleWell
    >>> time = mean_first_passage_time(QuarticDoubleWell(), lambda x: x[:, 0] > 1.0)
    >>> time(torch.tensor([[-1.0], [0.0], [2.0]]))
    tensor([3.5694, 2.1336, 0.0000])
    """
    reduced = reduce(analytic(system, box, periodic), [target], dynamics=True, whole=callable(diffusion))
    solved = [_time(grid, reduced, target) for grid in refinements(reduced.system, cells, diffusion)[::2]]
    return _function(solved, reduced, ((target, 0.0),))


def reaction_rates(
    system: System,
    a: Region,
    b: Region,
    *,
    box: Sequence[Any] | None = None,
    periodic: Sequence[bool] | bool | None = None,
    diffusion: Diffusion = None,
    cells: int = 20_000,
) -> tuple[Exact, Exact]:
    r"""Rates from set `a` to set `b` and back, by overdamped dynamics: :math:`\nu / E[1 - q]` and :math:`\nu / E[q]`.

    The flux :math:`\nu = E[\nabla q \cdot D \nabla q]` is the number of reactions per time.

    Parameters
    ----------
    system, a, b, box, periodic, diffusion, cells
        As for `committor`.

    Raises
    ------
    ConfigError
        As `committor`.

    References
    ----------
    Vanden-Eijnden, in Lect. Notes Phys. 703, 453 (2006).

    Examples
    --------
    >>> from bayescg.systems import QuarticDoubleWell
    >>> forth, back = reaction_rates(QuarticDoubleWell(), lambda x: x[:, 0] < -1.0, lambda x: x[:, 0] > 1.0)
    >>> round(forth.value, 4), round(back.value, 4)
    (0.2802, 0.2802)
    """
    reduced = reduce(analytic(system, box, periodic), [a, b], dynamics=True, whole=callable(diffusion))
    fine, coarse = (_rates(g, reduced, a, b) for g in refinements(reduced.system, cells, diffusion)[::2])
    forth, back = (Exact(value, abs(value - rough)) for value, rough in zip(fine, coarse, strict=True))
    return forth, back


def _rates(grid: Grid, reduced: Reduced, a: Region, b: Region) -> tuple[float, float]:
    open_, q = _solved(grid, reduced, a, b)
    to_a = _inside(grid, reduced, a, "a")[open_.into]
    outer = open_.outer[to_a]
    flux = (grid.mass[outer] * open_.rate[to_a] * q[outer]).sum() / grid.mass.sum()
    from_b = (grid.mass * q).sum() / grid.mass.sum()
    return float(flux / (1.0 - from_b)), float(flux / from_b)


def _committor(grid: Grid, reduced: Reduced, a: Region, b: Region) -> tuple[Grid, np.ndarray]:
    return grid, _solved(grid, reduced, a, b)[1]


def _solved(grid: Grid, reduced: Reduced, a: Region, b: Region) -> tuple[Open, np.ndarray]:
    """What is outside of both sets, and the committor (cells,)."""
    in_a, in_b = _inside(grid, reduced, a, "a"), _inside(grid, reduced, b, "b")
    if (in_a & in_b).any():
        raise ConfigError(f"the sets a and b overlap at {grid.points[int((in_a & in_b).argmax())].tolist()}")
    open_ = Open(grid, in_a | in_b, reduced, lambda x: values_of(a, x) + values_of(b, x) > 0.0)
    source = np.zeros(len(in_a))
    to_b = in_b[open_.into]
    np.add.at(source, open_.outer[to_b], open_.rate[to_b])
    values = open_.solve(source)
    if not 0.0 <= open_.solve(np.ones(len(in_a))).max() * open_.fastest * np.finfo(float).eps < DIGITS:
        raise ConfigError("the dynamics stays too long in neither set for double precision: enlarge them, or raise kT")
    return open_, open_.extend(values.clip(0.0, 1.0), in_b.astype(float))


def _time(grid: Grid, reduced: Reduced, target: Region) -> tuple[Grid, np.ndarray]:
    inside = _inside(grid, reduced, target, "target")
    open_ = Open(grid, inside, reduced, lambda x: values_of(target, x) > 0.0)
    ones = np.ones(len(inside))
    rough = open_.solve(ones)
    # where passage is rare, rounding spoils the scale of the solution and not its shape: Galerkin's condition, from
    # differences between neighbours, gives the scale, and a step of refinement shows whether the shape was right
    energy = open_.energy(rough, rough)
    values = rough * (grid.mass[open_.free] @ rough[open_.free]) / energy
    step = open_.solve(ones - open_.apply(values))
    step -= rough * open_.energy(rough, step) / energy
    if not np.abs(step).max() < DIGITS * np.abs(values).max():
        raise ConfigError("the set is reached too rarely for double precision: enlarge it, or raise kT")
    return grid, open_.extend(values + step, np.zeros(len(inside)))


def _inside(grid: Grid, reduced: Reduced, region: Region, name: str) -> np.ndarray:
    inside = values_of(region, reduced.lift(grid.points)) > 0.0
    if not inside.any():
        raise ConfigError(f"no cell lies in the set {name}: enlarge it, or give more cells=")
    return inside


def _function(
    solved: list[tuple[Grid, np.ndarray]], reduced: Reduced, fixed: Sequence[tuple[Region, float]]
) -> GridFunction:
    (fine, values), (coarse, rough) = solved
    change = np.abs(values - interpolate(coarse, rough, fine.points.numpy()))
    for inside, _ in fixed:
        change[values_of(inside, reduced.lift(fine.points)) > 0.0] = 0.0
    return GridFunction(float(change.max()), fine, values, reduced.project, fixed)
