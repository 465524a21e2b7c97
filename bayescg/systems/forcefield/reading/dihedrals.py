"""Reading torsions: every form over four atoms as one Fourier series, CHARMM's impropers and its maps."""

from typing import Any

import numpy as np

from bayescg.systems.forcefield.reading.expressions import parse
from bayescg.systems.forcefield.tables import Cmap, Impropers, Torsions

__all__ = ["TorsionBook", "cmap", "harmonic_improper", "periodic", "ryckaert_bellemans"]


class TorsionBook:
    """Torsions, each quadruple of atoms once, and what refers to them."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, ...], int] = {}
        self._series: list[dict[int, complex]] = []
        self.impropers: list[tuple[int, float, float]] = []
        self.maps: list[tuple[int, int, np.ndarray]] = []

    def row(self, atoms: tuple[int, ...]) -> int:
        """Number of the torsion over four atoms; read from either end it is the same angle."""
        atoms = min(atoms, atoms[::-1])
        if atoms not in self._rows:
            self._rows[atoms] = len(self._rows)
            self._series.append({})
        return self._rows[atoms]

    def add(self, atoms: tuple[int, ...], order: int, cosine: float, sine: float = 0.0) -> None:
        """Add cosine * cos(order phi) + sine * sin(order phi)."""
        series = self._series[self.row(atoms)]
        series[order] = series.get(order, 0.0) + complex(cosine, sine)

    def tables(self) -> tuple[Torsions | None, Impropers | None, Cmap | None]:
        """What has been added."""
        if not self._rows:
            return None, None, None
        cos, sin = np.zeros((2, len(self._series), 1 + max((n for s in self._series for n in s), default=0)))
        for row, terms in enumerate(self._series):
            for order, value in terms.items():
                cos[row, order], sin[row, order] = value.real, value.imag
        torsions = Torsions(np.array(list(self._rows)), cos, sin)
        impropers = None
        if self.impropers:
            rows, angle, k = np.array(self.impropers).T
            impropers = Impropers(rows.astype(int), angle, k)
        return torsions, impropers, self._cmap()

    def _cmap(self) -> Cmap | None:
        if not self.maps:
            return None
        used = list({id(patches): patches for _, _, patches in self.maps}.values())
        starts = {id(p): sum(len(q) for q in used[:n]) for n, p in enumerate(used)}
        phi, psi = (np.array([term[n] for term in self.maps]) for n in (0, 1))
        first = np.array([starts[id(patches)] for _, _, patches in self.maps])
        size = np.array([round(len(patches) ** 0.5) for _, _, patches in self.maps])
        return Cmap(phi, psi, first, size, np.concatenate(used))


def periodic(book: TorsionBook, force: Any) -> None:
    """Read a PeriodicTorsionForce: k (1 + cos(n phi - phase))."""
    for i in range(force.getNumTorsions()):
        *atoms, order, phase, k = force.getTorsionParameters(i)
        k, phase = k._value, phase._value
        if k:
            book.add(tuple(atoms), 0, k)
            book.add(tuple(atoms), order, k * np.cos(phase), k * np.sin(phase))


def ryckaert_bellemans(book: TorsionBook, force: Any) -> None:
    """Read an RBTorsionForce: sum_n c_n cos^n(phi - 180 degrees)."""
    for i in range(force.getNumTorsions()):
        *atoms, c0, c1, c2, c3, c4, c5 = force.getTorsionParameters(i)
        powers = np.array([c._value for c in (c0, c1, c2, c3, c4, c5)])
        series = np.polynomial.chebyshev.poly2cheb(powers * (-1.0) ** np.arange(6))  # T_n(cos phi) = cos(n phi)
        for order, value in enumerate(series):
            if value:
                book.add(tuple(atoms), order, float(value))


def harmonic_improper(book: TorsionBook, force: Any) -> None:
    """Read the CustomTorsionForce of the harmonic impropers in OpenMM's CHARMM force fields."""
    formula, names, constants = parse(force.getEnergyFunction())
    parameters = [force.getPerTorsionParameterName(i) for i in range(force.getNumPerTorsionParameters())]
    if (
        formula != "k*min(dtheta,2*pi-dtheta)^2"
        or names != {"dtheta": "abs(theta-theta0)"}
        or not np.isclose(constants.get("pi", 0.0), np.pi, rtol=0.0, atol=1e-8)
        or set(parameters) != {"k", "theta0"}
    ):
        raise ValueError(f"its energy {force.getEnergyFunction()!r} is not CHARMM's harmonic improper")
    for i in range(force.getNumTorsions()):
        *atoms, values = force.getTorsionParameters(i)
        value = dict(zip(parameters, values, strict=True))
        if value["k"]:
            book.impropers.append((book.row(tuple(atoms)), value["theta0"], value["k"]))


def cmap(book: TorsionBook, force: Any) -> None:
    """Read a CMAPTorsionForce: periodic bicubic splines over two torsions."""
    maps = []
    for i in range(force.getNumMaps()):
        size, energy = force.getMapParameters(i)
        # OpenMM lists a map with its first angle running fastest
        maps.append(bicubic_patches(np.reshape([getattr(e, "_value", e) for e in energy], (size, size)).T))
    for i in range(force.getNumTorsions()):
        index, *atoms = force.getTorsionParameters(i)
        book.maps.append((book.row(tuple(atoms[:4])), book.row(tuple(atoms[4:])), maps[index]))


def bicubic_patches(grid: np.ndarray) -> np.ndarray:
    """Polynomials of the periodic bicubic spline through a square grid.

    Parameters
    ----------
    grid : numpy.ndarray, shape (size, size)
        Values at the corners of the cells.

    Returns
    -------
    numpy.ndarray, shape (size * size, 16)
        Row size * i + j holds, at 4 m + n, the coefficient of u^m v^n in the cell whose lower corner is (i, j);
        u and v run from 0 to 1 across the cell.

    Source
    ------
    MacKerell, Feig, Brooks, J. Comput. Chem. 25, 1400 (2004): the slopes at the corners come from
    periodic cubic splines along the lines of the grid.

    Examples
    --------
    >>> flat = bicubic_patches(np.full((4, 4), 7.0))
    >>> bool(np.allclose(flat[:, 0], 7.0)), bool(np.allclose(flat[:, 1:], 0.0))
    (True, True)
    """
    size = len(grid)
    shift = np.roll(np.eye(size), 1, axis=1)
    slopes = np.linalg.solve(4.0 * np.eye(size) + shift + shift.T, 3.0 * (shift - shift.T))  # per cell, not per radian
    by_first, by_second = slopes @ grid, grid @ slopes.T
    both = slopes @ by_second
    corners = np.zeros((size, size, 4, 4))
    for a in (0, 1):
        for b in (0, 1):
            at = [np.roll(values, (-a, -b), (0, 1)) for values in (grid, by_second, by_first, both)]
            corners[..., a, b], corners[..., a, 2 + b], corners[..., 2 + a, b], corners[..., 2 + a, 2 + b] = at
    hermite = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [-3, 3, -2, -1], [2, -2, 1, 1]])
    return np.einsum("mp,ijpq,nq->ijmn", hermite, corners, hermite).reshape(size * size, 16)
