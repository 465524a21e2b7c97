"""A box cut into equal cells, and the reversible jump process between them that stands for overdamped dynamics."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from bayescg.arguments import check_positive
from bayescg.errors import ConfigError
from bayescg.systems.analytic import AnalyticSystem

__all__ = ["LARGEST", "Diffusion", "Grid", "log_mean_exp", "refinements"]

Diffusion = float | Callable[[Tensor], Tensor] | None
"""Diffusion constant, or a function from (n, dim) to (n,) or to the diagonal (n, dim); None: kT."""

LARGEST = 3
"""Coordinates that a grid may have."""

CHUNK = 100_000
CUT_OFF = 1e-6


class Grid:
    r"""Finite volumes for :math:`Lf = e^{U/kT} \nabla \cdot (e^{-U/kT} D \nabla f)`, with no flux out of the box.

    A cell i has the mass :math:`m_i = e^{-U_i/kT}`, neighbours i and j the conductance :math:`c_{ij}`: D over the
    squared distance times the harmonic mean of :math:`e^{-U/kT}` between the centres, with U linear from one centre to
    the face and on to the other (Scharfetter and Gummel's flux on either half). Rates are :math:`c_{ij} / m_i`:
    detailed balance is exact, rates are positive, and the error is of second order.

    Parameters
    ----------
    system : AnalyticSystem
        Of one part.
    shape : tuple of int
        Cells along each coordinate.
    diffusion : float or callable, optional

    Attributes
    ----------
    axes : list of ndarray
        Centres of the cells along each coordinate.
    widths : ndarray, (dim,)
    points : Tensor, (cells, dim)
        Centres.
    log_mass : ndarray, (cells,)
        Normalised to a total of one.
    log_partition : float
        By the midpoint rule.

    Raises
    ------
    ConfigError
        An energy or a diffusion constant is not finite, or the latter not positive.
    """

    def __init__(self, system: AnalyticSystem, shape: tuple[int, ...], diffusion: Diffusion = None):
        self.system, self.shape, self.diffusion = system, shape, diffusion
        low, high = np.array(system.box).T
        self.widths = (high - low) / shape
        self.axes = [lo + h * (np.arange(n) + 0.5) for lo, h, n in zip(low, self.widths, shape, strict=True)]
        self.points = _product(self.axes)
        self.energy = self.reduced_energy(self.points)
        self._log_total = float(np.logaddexp.reduce(-self.energy))
        self.log_mass = -self.energy - self._log_total
        self.log_partition = self._log_total + float(np.log(self.widths).sum())

    @cached_property
    def mass(self) -> np.ndarray:
        """Probability of each cell."""
        return np.exp(self.log_mass)

    @cached_property
    def outside(self) -> float:
        """Estimated probability beyond the box: the mass of its last cells, continued geometrically."""
        return float(sum(self._beyond(k).sum() for k, wraps in enumerate(self.system.periodic) if not wraps))

    @cached_property
    def links(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Neighbours i and j, log of their conductance, axis along which they lie."""
        found = [self._links(axis) for axis in range(len(self.shape))]
        i, j, log_c, axis = (np.concatenate(column) for column in zip(*found, strict=True))
        return i, j, log_c, axis

    def symmetric(self) -> sparse.csr_array:
        r"""Minus the generator between functions times :math:`\sqrt m`: symmetric, with eigenvalues >= 0."""
        i, j, log_c, _ = self.links
        n = len(self.energy)
        off = -np.exp(log_c - 0.5 * (self.log_mass[i] + self.log_mass[j]))
        out = np.bincount(i, np.exp(log_c - self.log_mass[i]), n) + np.bincount(j, np.exp(log_c - self.log_mass[j]), n)
        every = np.arange(n)
        rows, columns = np.concatenate([i, j, every]), np.concatenate([j, i, every])
        return sparse.csr_array((np.concatenate([off, off, out]), (rows, columns)), shape=(n, n))

    def generator(self) -> sparse.csr_array:
        """Rates between cells; every row sums to zero."""
        i, j, log_c, _ = self.links
        n = len(self.energy)
        rows, columns = np.concatenate([i, j]), np.concatenate([j, i])
        rates = np.exp(np.concatenate([log_c, log_c]) - self.log_mass[rows])
        off = sparse.csr_array((rates, (rows, columns)), shape=(n, n))
        return sparse.csr_array(off - sparse.diags_array(off.sum(1)))

    def jumps(self, f: np.ndarray) -> np.ndarray:
        r"""Matrix J, (links, m), whose :math:`J^T J` is the Dirichlet form of the columns of `f`, (cells, m)."""
        i, j, log_c, _ = self.links
        return (f[i] - f[j]) * np.exp(0.5 * log_c)[:, None]

    def reduced_energy(self, points: Tensor) -> np.ndarray:
        """U / kT, (n,)."""
        with torch.no_grad():
            parts = [self.system.energy(p) for p in torch.split(points, CHUNK)]
        energy = torch.cat(parts).double().numpy() / self.system.kT if parts else np.zeros(0)
        if not np.isfinite(energy).all():
            where = points[int(np.argmin(np.isfinite(energy)))].tolist()
            raise ConfigError(f"the energy at {where} is not finite: choose a box within which it is")
        return energy

    def diffusion_at(self, points: Tensor, axis: np.ndarray | int) -> np.ndarray:
        """Diffusion constant along an axis (one, or one for each point), (n,)."""
        if self.diffusion is None or isinstance(self.diffusion, float | int):
            value = np.full(len(points), self.system.kT if self.diffusion is None else float(self.diffusion))
        else:
            with torch.no_grad():
                diagonal = torch.cat([self.diffusion(p) for p in torch.split(points, CHUNK)]).double().numpy()
            if diagonal.shape not in ((len(points),), (len(points), len(self.shape))):
                raise ConfigError(
                    f"diffusion must map (n, {len(self.shape)}) to (n,) or (n, {len(self.shape)}); "
                    f"for n = {len(points)} it returned shape {diagonal.shape}"
                )
            value = diagonal if diagonal.ndim == 1 else diagonal[np.arange(len(points)), axis]
        if not (value > 0).all() or not np.isfinite(value).all():
            raise ConfigError("a diffusion constant must be positive and finite everywhere in the box")
        return value

    def _links(self, axis: int) -> tuple[np.ndarray, ...]:
        index = np.arange(len(self.points)).reshape(self.shape)
        wraps = self.system.periodic[axis]
        i = index if wraps else np.take(index, np.arange(self.shape[axis] - 1), axis)
        j = np.roll(index, -1, axis) if wraps else np.take(index, np.arange(1, self.shape[axis]), axis)
        i, j = i.ravel(), j.ravel()
        faces = self.points[i].clone()
        faces[:, axis] += 0.5 * self.widths[axis]
        between = self.reduced_energy(faces)
        resistance = np.logaddexp(
            log_mean_exp(self.energy[i], between), log_mean_exp(between, self.energy[j])
        ) - np.log(2.0)
        log_c = np.log(self.diffusion_at(faces, axis)) - resistance - 2.0 * np.log(self.widths[axis])
        return i, j, log_c - self._log_total, np.full(len(i), axis)

    def _beyond(self, axis: int) -> np.ndarray:
        mass = self.mass.reshape(self.shape)
        mass = mass.sum(tuple(k for k in range(mass.ndim) if k != axis))
        last, before = mass[[0, -1]], mass[[1, -2]]
        falls = last < before
        return last * np.where(falls, last / np.where(falls, before - last, 1.0), len(mass))

    def check_box(self) -> None:
        """Refuse a box that cuts off more than a millionth of the probability."""
        for axis, wraps in enumerate(self.system.periodic):
            beyond = self._beyond(axis)
            if not wraps and beyond.max() > CUT_OFF:
                share = beyond.max() / (1.0 + beyond.max())
                percentage = f"{share:.0%}" if share > 0.01 else f"{share:.0e}"
                raise ConfigError(
                    f"the box cuts off probability at the {'lower' if beyond[0] > beyond[1] else 'upper'} end of "
                    f"coordinate {axis + 1}, {self.system.box[axis]}: beyond lies about {percentage} of it; "
                    "give a larger box="
                )


def log_mean_exp(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Log of the mean of exp(t) over t from a to b.

    Examples
    --------
    >>> log_mean_exp(np.array([0.0, 0.0]), np.array([0.0, 1.0])).round(4).tolist()
    [0.0, 0.5413]
    """
    y = np.abs(b - a)
    safe = np.maximum(y, 1e-4)
    large = np.maximum(a, b) + np.log(-np.expm1(-safe) / safe)
    return np.where(y < 1e-4, 0.5 * (a + b) + y**2 / 24.0, large)


def refinements(system: AnalyticSystem, cells: int, diffusion: Diffusion = None) -> list[Grid]:
    """Three grids, the finest first: about `cells` cells, then cells wider by the root of two, then by two.

    Examples
    --------
    >>> from bayescg.systems import Prinz
    >>> [g.shape for g in refinements(Prinz(), cells=100)]
    [(100,), (70,), (50,)]
    """
    dim = system.dim
    if dim > LARGEST:
        raise ConfigError(
            f"truth is known for up to {LARGEST} coordinates that do not separate, and {system!r} has {dim}"
        )
    check_positive(cells=cells)
    if cells < 10**dim:
        raise ConfigError(f"cells={cells}: at least {10**dim} are needed in {dim} dimensions")
    finest = min(cells ** (1.0 / dim), 2000.0)
    sizes = [
        2 * round(0.5 * finest / 2.0 ** (0.5 * level)) for level in range(3)
    ]  # even: symmetric wells keep a middle
    grids = [Grid(system, (n,) * dim, diffusion) for n in sizes]
    grids[0].check_box()
    return grids


def _product(axes: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes)))
