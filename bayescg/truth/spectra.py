"""Eigenvalues and eigenfunctions of overdamped dynamics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts
from bayescg.systems.core import System
from bayescg.truth.eigen import eigenpairs
from bayescg.truth.exact import extrapolate, interpolate
from bayescg.truth.grid import Diffusion, Grid, refinements
from bayescg.truth.reduce import analytic, reduce

__all__ = ["Spectrum", "spectrum"]


@dataclass(frozen=True)
class Spectrum:
    """Slowest modes of overdamped dynamics.

    Attributes
    ----------
    eigenvalues : ndarray, (modes,)
        Of minus the generator, ascending; the zero of the constant function is left out. Rates per unit of time.
    error : ndarray, (modes,)
        Estimated absolute error of each, from refinement.
    eigenfunctions : callable
        From coordinates (..., dim) to (..., modes): zero mean and unit variance at equilibrium. The sign is arbitrary
        but fixed; where eigenvalues coincide, only the span of their eigenfunctions means anything.
    eigenfunction_error : ndarray, (modes,)
        Estimated root mean square error of each eigenfunction at equilibrium.
    scope : str
        The coordinates of whose functions these are the slowest; "all" unless some do not move by themselves.
    """

    eigenvalues: np.ndarray
    error: np.ndarray
    eigenfunctions: Callable[[Tensor], Tensor] = field(repr=False)
    eigenfunction_error: np.ndarray
    scope: str = "all"

    @property
    def timescales(self) -> np.ndarray:
        """Implied timescales, 1 / eigenvalue."""
        return 1.0 / self.eigenvalues

    @property
    def timescale_error(self) -> np.ndarray:
        """Estimated absolute error of each timescale."""
        return self.error / self.eigenvalues**2


@dataclass(frozen=True)
class _PartSpectrum:
    eigenvalues: np.ndarray
    error: np.ndarray
    grid: Grid
    eigenfunctions: np.ndarray
    eigenfunction_error: np.ndarray


def spectrum(
    system: System,
    modes: int = 3,
    *,
    box: Sequence[Any] | None = None,
    periodic: Sequence[bool] | bool | None = None,
    diffusion: Diffusion = None,
    cells: int = 20_000,
) -> Spectrum:
    r"""Eigenvalues and eigenfunctions of :math:`dx = (-D \nabla U / kT + \nabla \cdot D) dt + \sqrt{2D} dW`.

    A finite-volume generator with exact detailed balance is solved on three grids; its eigenvalues are extrapolated.
    Systems that separate into parts are answered part by part: eigenvalues of the whole are sums of those of the parts,
    and eigenfunctions products.

    Parameters
    ----------
    system : System
        Of up to three dimensions, or one of :mod:`bayescg.systems` that separates into such parts.
    modes : int
    box : sequence of (lo, hi), optional
        Where the probability lies; systems of :mod:`bayescg.systems` know it.
    periodic : bool or sequence of bool, optional
        Whether coordinates wrap around the box.
    diffusion : float or callable, optional
        D, or a function from (n, dim) to (n,) or to its diagonal (n, dim); default: kT, a mobility of one. A
        function is not known to separate: the system is then solved undivided.
    cells : int
        Of the finest grid of each part; at most 2000 are used in one dimension.

    Returns
    -------
    Spectrum

    Raises
    ------
    ConfigError
        The system has too many dimensions and does not separate, needs a box, or leaves the one it has.

    References
    ----------
    Scharfetter, Gummel, IEEE Trans. Electron Devices 16, 64 (1969), for the flux; Lie, Fackeldey, Weber, "A square root
    approximation of transition rates for a Markov state model", SIAM J. Matrix Anal. Appl. 34, 738 (2013), for
    such generators.

    Examples
    --------
    >>> from bayescg.systems import Prinz
    >>> slow = spectrum(Prinz(), modes=3)
    >>> slow.eigenvalues.round(3).tolist(), bool((slow.error < 1e-4).all())
    ([1.199, 7.889, 15.361], True)
    >>> slow.eigenfunctions(torch.tensor([[-0.74], [0.67]])).shape
    torch.Size([2, 3])
    """
    check_counts(modes=(modes, 1))
    whole = analytic(system, box, periodic)
    if callable(diffusion):
        reduced = reduce(whole, [], dynamics=True, whole=True)
        numbers, projections = [0], [reduced.project]
        solved = [_solve(reduced.system, modes, diffusion, cells)]
    else:
        numbers = [k for k, part in enumerate(whole.parts) if part.moves_alone]
        projections = [lambda x, k=k: whole.split(x)[k] for k in numbers]
        spectra: dict[int, _PartSpectrum] = {}
        for part in (whole.parts[k].system for k in numbers):
            if id(part) not in spectra:
                spectra[id(part)] = _solve(part, modes, diffusion, cells)
        solved = [spectra[id(whole.parts[k].system)] for k in numbers]
    alone = callable(diffusion) or len(numbers) == len(whole.parts)
    combinations = _lowest([part.eigenvalues for part in solved], modes)
    used = sorted({k for combination in combinations for k, _ in combination})

    def eigenfunctions(x: Tensor) -> Tensor:
        x = torch.as_tensor(x)
        flat = x.detach().reshape(-1, x.shape[-1]).double()
        at = {k: interpolate(solved[k].grid, solved[k].eigenfunctions, projections[k](flat).numpy()) for k in used}
        columns = [np.prod([at[k][:, m] for k, m in combination], axis=0) for combination in combinations]
        return torch.from_numpy(np.stack(columns, -1).reshape(*x.shape[:-1], len(combinations))).to(x.dtype)

    return Spectrum(
        eigenvalues=np.array([sum(solved[k].eigenvalues[m] for k, m in c) for c in combinations]),
        error=np.array([sum(solved[k].error[m] for k, m in c) for c in combinations]),
        eigenfunctions=eigenfunctions,
        eigenfunction_error=np.array([sum(solved[k].eigenfunction_error[m] for k, m in c) for c in combinations]),
        scope="all" if alone else "functions of " + ", ".join(whole.parts[k].name for k in numbers),
    )


def _solve(part: Any, modes: int, diffusion: Diffusion, cells: int) -> _PartSpectrum:
    """Slowest modes of a part, extrapolated."""
    grids = refinements(part, cells, diffusion)
    pairs = [eigenpairs(grid, modes + 2) for grid in grids]  # two more, so that a pair at the end is not cut
    values, error = extrapolate([values for values, _ in pairs], [float(grid.widths[0]) for grid in grids])
    fine, coarse = grids[0], grids[2]
    rough = interpolate(coarse, pairs[2][1], fine.points.numpy())
    weight = np.sqrt(fine.mass)[:, None]
    apart = np.zeros(modes)
    for k in range(modes):
        same = np.abs(values - values[k]) <= 0.02 * values[k]
        _, residual, *_ = np.linalg.lstsq(weight * rough[:, same], weight[:, 0] * pairs[0][1][:, k], rcond=None)
        apart[k] = np.sqrt(residual.sum())
    return _PartSpectrum(values[:modes], error[:modes], fine, pairs[0][1][:, :modes], apart)


def _lowest(eigenvalues: list[np.ndarray], modes: int) -> list[tuple[tuple[int, int], ...]]:
    """Combinations (part, mode) of modes of different parts whose eigenvalues have the lowest sums, ascending."""
    lowest: list[tuple[float, tuple[tuple[int, int], ...]]] = [(0.0, ())]
    for k, values in enumerate(eigenvalues):
        longer = [(total + float(value), (*c, (k, m))) for total, c in lowest for m, value in enumerate(values)]
        lowest = sorted(lowest + longer)[: modes + 1]
    return [combination for _, combination in lowest[1:]]
