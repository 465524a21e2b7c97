r"""Clusters of like particles in reduced units, on which potentials are learned: no bonds, and any number of particles.

Coordinates are those of the particles, one after the other: x, y, z. Nothing holds a cluster in its place, so that only
what does not change when it is moved or turned has a distribution. Dynamics begins at `start`, masses are 1.
"""

from itertools import product

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_positive
from bayescg.systems.core import System

__all__ = ["LennardJonesCluster", "MorseCluster"]


class MorseCluster(System):
    r"""Particles with a Morse potential between each two, :math:`U = \sum_{i<j} 3 (e^2 - 2 e) + 0.3\,(r - 2.5)_+^2`.

    Here :math:`e = \exp(-2 (r - 1))`, and the last term, of the positive part, holds the cluster together. Four
    particles have their minimum, -18, in a regular tetrahedron of edge 1.

    Parameters
    ----------
    atoms : int
    temperature_kT : float

    Attributes
    ----------
    start : ndarray, shape (atoms, 3)

    Raises
    ------
    ConfigError
        There are fewer than two atoms, or the temperature is not positive.

    Examples
    --------
    >>> cluster = MorseCluster(4)
    >>> cluster.energy(torch.tensor(cluster.start).flatten())
    tensor(-18., dtype=torch.float64)
    """

    def __init__(self, atoms: int = 4, temperature_kT: float = 0.25):
        check_counts(atoms=(atoms, 2))
        i, j = np.triu_indices(atoms, 1)

        def energy(x: Tensor) -> Tensor:
            r = _distances(x, i, j)
            e = torch.exp(-2.0 * (r - 1.0))
            return (3.0 * (e.square() - 2.0 * e) + 0.3 * (r - 2.5).clamp_min(0.0).square()).sum(-1)

        super().__init__(energy, 3 * atoms, temperature_kT=temperature_kT)
        self.atoms, self.start = atoms, _packed(atoms)


class LennardJonesCluster(System):
    r"""Lennard-Jones particles in a wide sphere about their centre, :math:`U = \sum_{i<j} 4 (r^{-12} - r^{-6})`.

    Outside the sphere :math:`10\,(|x_i - \bar x| - R)_+^2` brings evaporated particles back. The lowest energies are
    -44.326801 of 13 particles, an icosahedron, and -173.928427 of 38, a truncated octahedron.

    Parameters
    ----------
    atoms : int
    radius : float, optional
        R; default: 1.5 beyond the outermost particle of the start.
    temperature_kT : float

    Attributes
    ----------
    start : ndarray, shape (atoms, 3)
        The icosahedron of 13; else those sites of a face-centred cubic lattice that are nearest to an octahedral hole.

    Raises
    ------
    ConfigError
        There are fewer than two atoms, or a number is not positive.

    References
    ----------
    Wales, Doye, "Global optimization by basin-hopping and the lowest energy structures of Lennard-Jones clusters
    containing up to 110 atoms", J. Phys. Chem. A 101, 5111 (1997), table 1.

    Examples
    --------
    >>> pair = LennardJonesCluster(2)
    >>> pair.energy(torch.tensor([0.0, 0.0, 0.0, 2 ** (1 / 6), 0.0, 0.0]))
    tensor(-1.)
    """

    def __init__(self, atoms: int = 13, radius: float | None = None, temperature_kT: float = 0.2):
        check_counts(atoms=(atoms, 2))
        self.start = 1.09 * (_icosahedron() if atoms == 13 else _packed(atoms))
        if radius is None:
            radius = float(np.linalg.norm(self.start - self.start.mean(0), axis=-1).max()) + 1.5
        check_positive(radius=radius)
        wall, (i, j) = float(radius), np.triu_indices(atoms, 1)

        def energy(x: Tensor) -> Tensor:
            attraction = _distances(x, i, j) ** -6
            x = x.unflatten(-1, (-1, 3))
            # a particle in the very centre has no direction to it
            out = ((x - x.mean(-2, keepdim=True)).square().sum(-1) + 1e-12).sqrt() - wall
            return 4.0 * (attraction.square() - attraction).sum(-1) + 10.0 * out.clamp_min(0.0).square().sum(-1)

        super().__init__(energy, 3 * atoms, temperature_kT=temperature_kT)
        self.atoms, self.radius = atoms, wall


def _distances(x: Tensor, i: np.ndarray, j: np.ndarray) -> Tensor:
    """Of pairs, ``(n, pairs)`` of flat positions ``(n, dim)``."""
    x = x.unflatten(-1, (-1, 3))
    return (x[..., i, :] - x[..., j, :]).norm(dim=-1)


def _packed(atoms: int) -> np.ndarray:
    """Sites of a face-centred cubic lattice about an octahedral hole, neighbours 1 apart; four are a tetrahedron."""
    cells = np.array(list(product(range(-8, 9), repeat=3)), dtype=np.float64)
    if atoms == 4:
        return np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 8**0.5
    sites = cells[cells.sum(1) % 2 == 1] / 2**0.5  # the origin is a hole
    return sites[np.argsort(np.round((sites**2).sum(1), 6), kind="stable")[:atoms]]


def _icosahedron() -> np.ndarray:
    """Twelve corners at distance 1 from the thirteenth particle."""
    golden = (1 + 5**0.5) / 2
    corners = [np.roll([0.0, a, b * golden], k) for k in range(3) for a in (-1, 1) for b in (-1, 1)]
    return np.array([np.zeros(3), *corners]) / np.sqrt(1 + golden**2)
