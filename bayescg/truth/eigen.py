"""Eigenpairs of the generator on one grid."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh, splu

from bayescg.truth.grid import Grid

__all__ = ["eigenpairs"]

IMPROBABLE = 1e-14


def eigenpairs(grid: Grid, modes: int) -> tuple[np.ndarray, np.ndarray]:
    """Smallest eigenvalues > 0 of minus the generator, and its eigenfunctions of unit variance.

    The symmetric sparse problem gives their span; the eigenvalues come from the singular values of the Dirichlet form
    within it, which keeps the digits of those that are 1e-20 of the fastest rates.

    Parameters
    ----------
    grid : Grid
    modes : int

    Returns
    -------
    eigenvalues : ndarray, (modes,)
    eigenfunctions : ndarray, (cells, modes)
        Each positive at the last of the cells where it is largest in size, up to a factor of two.

    Examples
    --------
    >>> from bayescg.systems import Harmonic
    >>> values, functions = eigenpairs(Grid(Harmonic((3.0,)), (200,)), 2)
    >>> values.round(2).tolist()
    [3.0, 5.99]
    """
    matrix = grid.symmetric()
    shift = -1e-8 * float(matrix.diagonal().max())
    start = np.random.default_rng(0).standard_normal(len(grid.mass))
    values, vectors = eigsh(matrix, k=modes + 1, sigma=shift, v0=start)
    order = np.argsort(values)[1:]  # the first is constant
    root = np.exp(0.5 * np.maximum(grid.log_mass, np.log(IMPROBABLE)))
    functions = _tails(grid, vectors[:, order] / root[:, None], values[order])
    functions -= grid.mass @ functions
    weighted = np.sqrt(grid.mass)[:, None] * functions
    functions = functions @ np.linalg.inv(np.linalg.qr(weighted, mode="r"))
    _, singular, right = np.linalg.svd(grid.jumps(functions), full_matrices=False)
    return singular[::-1] ** 2, _signed(functions @ right[::-1].T)


def _tails(grid: Grid, functions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where the mass is too small for the symmetric problem's digits, solve for the function itself, from its rim."""
    rare = grid.mass < IMPROBABLE
    if not rare.any():
        return functions
    generator = grid.generator()
    inner, rim = generator[rare][:, rare], generator[rare][:, ~rare]
    functions = functions.copy()
    for k, value in enumerate(values):
        solve = splu(sparse.csc_array(-inner - max(value, 0.0) * sparse.eye_array(inner.shape[0])))
        functions[rare, k] = solve.solve(rim @ functions[~rare, k])
    return functions


def _signed(functions: np.ndarray) -> np.ndarray:
    large = np.abs(functions) >= 0.5 * np.abs(functions).max(0)
    last = len(large) - 1 - large[::-1].argmax(0)
    return functions * np.sign(functions[last, np.arange(functions.shape[1])])
