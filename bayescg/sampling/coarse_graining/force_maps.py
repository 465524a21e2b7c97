"""Which forces of atoms make the force on a bead: a linear map for each aggregation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bayescg.errors import DataError
from bayescg.features import Beads

__all__ = ["aggregated", "check_map", "optimal", "ties"]


def ties(columns: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.float64]:
    """Groups of atoms that share one coefficient, ``(columns, groups)``: those that pairs join, and each other alone.

    Examples
    --------
    >>> ties(4, [(0, 2), (2, 3)]).T
    array([[1., 0., 1., 1.],
           [0., 1., 0., 0.]])
    """
    group = np.arange(columns)
    for a, b in pairs:
        group[group == group[b]] = group[a]
    return (group[:, None] == np.unique(group)[None]).astype(np.float64)


def aggregated(mapping: Beads, groups: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up the forces on the atoms of a bead and on all that share their groups, ``(beads, columns)``.

    Parameters
    ----------
    mapping : Beads
    groups : array, (columns, groups)
    """
    inside = mapping.matrix.numpy() != 0
    return ((inside @ groups > 0) @ groups.T).astype(np.float64)


def optimal(mapping: Beads, groups: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""The map whose forces are smallest in mean square, ``(beads, columns)``.

    :math:`\min_w w^T \langle f f^T \rangle w` for each bead I, where :math:`M w = e_I` and atoms of a group share one
    coefficient, :math:`w = G v`. All maps have the same mean force; the smallest has the least noise about it. The
    conditions of Karush, Kuhn and Tucker are one linear system, solved by least squares: where the forces of a molecule
    add up to zero it has many solutions, which give the same forces.

    Parameters
    ----------
    mapping : Beads
    groups : array, (columns, groups)
    covariance : array, (columns, columns)
        :math:`\langle f_i \cdot f_j \rangle`.

    Source
    ------
    Krämer, Durumeric, Charron, Chen, Clementi, Noé, J. Phys. Chem. Lett. 14, 3970 (2023), eq. (6).

    Examples
    --------
    >>> from bayescg.features import beads
    >>> spring = np.array([[1.0, -0.5], [-0.5, 1.0]])  # a Gaussian: forces have this covariance, positions its inverse
    >>> optimal(beads(2, [[1.0, 0.0]]), np.eye(2), spring)
    array([[1. , 0.5]])
    """
    cost = groups.T @ covariance @ groups
    within = mapping.matrix.numpy() @ groups
    beads, size = within.shape
    system = np.zeros((size + beads, size + beads))
    system[:size, :size] = cost / np.trace(cost) * size
    system[size:, :size], system[:size, size:] = within, within.T
    wanted = np.concatenate([np.zeros((size, beads)), np.eye(beads)])
    return (groups @ np.linalg.lstsq(system, wanted, rcond=1e-10)[0][:size]).T


def check_map(weights: NDArray[np.float64], mapping: Beads, aggregation: str) -> None:
    """Refuse a map of forces that does not go with the map of positions: the force on a bead moves it and no other.

    Raises
    ------
    DataError
        Two beads are joined by a constraint, or share atoms.
    """
    off = np.abs(weights @ mapping.matrix.numpy().T - np.eye(len(mapping.labels)))
    if off.max() < 1e-6:
        return
    between = off * (1 - np.eye(len(off)))  # two beads, if there are two: what a bead has of itself may be as far off
    bead, other = np.unravel_index(int((between if between.max() >= 1e-6 else off).argmax()), off.shape)
    second = f" and {mapping.labels[other]}" if other != bead else ""
    remedy = ' or aggregation="optimal", for beads that share atoms' if aggregation != "optimal" else ""
    raise DataError(
        f"beads {mapping.labels[bead]}{second} have no mean force by aggregation={aggregation!r}: constrained bonds "
        f"hold them together, or they share atoms; choose beads that no constraint joins{remedy}"
    )
