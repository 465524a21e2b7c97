"""How far particles are from each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from bayescg.analysis.long_steps.by_trajectory import each_trajectory
from bayescg.arguments import check_counts, check_positive, stated
from bayescg.data import Frames
from bayescg.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["radial_distribution"]

_ROWS = 2_000


def radial_distribution(path: Frames, bins: int = 100, longest: float | None = None) -> xr.DataArray:
    r"""Neighbours of a particle per unit of distance, :math:`\frac{1}{N_a} \sum_{i \in a, j \in b} \delta(r - r_{ij})`.

    Of clusters, which have no density to be compared with: over all distances it adds up to the particles of kind b
    that are not i itself. Trajectories of several draws of a map (`mapped_dynamics`) have one for each draw, whose
    spread is the band.

    Parameters
    ----------
    path : Frames
        Of particles in space, (n, atoms, 3), or (n, 3 atoms) of a toy system, without a box.
    bins : int
    longest : float, optional
        Default: the longest distance that there is.

    Returns
    -------
    DataArray, (draw, pair, r)
        Pairs are named by elements, or by atoms' names where they have none, "all" of toy systems; r is the middle of
        a bin.

    Raises
    ------
    DataError
        The frames are not of two particles in space or more, or have a box.

    Examples
    --------
    >>> frames = Frames.from_numpy([[[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 0.4, 0.0]]], unit="nm", temperature=300.0)
    >>> found = radial_distribution(frames, bins=10, longest=1.0)
    >>> (found[0, 0] * 0.1).values.round(2)  # two of three particles have a neighbour at each of three distances
    array([0.  , 0.  , 0.  , 0.67, 0.67, 0.67, 0.  , 0.  , 0.  , 0.  ])
    """
    import xarray as xr

    check_counts(bins=(bins, 1))
    check_positive(**stated(longest=longest))
    if path.dim % 3 or path.dim < 6:
        raise DataError(f"a radial distribution is of particles in space, and a frame has {path.dim} coordinates")
    if path.box is not None:
        raise DataError("these frames have a box: mdtraj.compute_rdf gives their radial distribution")
    kinds = _kinds(path)
    pairs = {
        f"{a}-{b}": np.array([(i, j) for i in kinds[a] for j in kinds[b] if a != b or i < j], dtype=int).reshape(-1, 2)
        for a, b in combinations_with_replacement(kinds, 2)
        if a != b or len(kinds[a]) > 1
    }
    around = [len(kinds[a]) / (2 if a == b else 1) for a, b in (name.split("-") for name in pairs)]
    draws = int(path.provenance.get("potential_draws") or 1)
    whole = np.arange(len(path))
    far = longest or max(x.max() for rows in pairs.values() for x in _apart(path, whole, rows))
    edges = np.linspace(0.0, far, bins + 1)
    trajectories = each_trajectory(path, whole)
    each, table = len(trajectories) // draws, np.zeros((draws, len(pairs), bins))
    for k in range(draws):
        index = np.concatenate(trajectories[k * each : (k + 1) * each])
        for number, rows in enumerate(pairs.values()):
            counts = sum(np.histogram(x, edges)[0] for x in _apart(path, index, rows))
            table[k, number] = counts / (around[number] * max(1, len(index)) * np.diff(edges))
    middles = (edges[1:] + edges[:-1]) / 2
    coords = {"draw": np.arange(draws), "pair": list(pairs), "r": middles}
    unit = "nm" if path.unit == "nm" else ""
    return xr.DataArray(table, coords, ("draw", "pair", "r"), "neighbours", attrs={"unit": unit})


def _kinds(path: Frames) -> dict[str, list[int]]:
    """Particles of each element."""
    if path.topology is None:
        return {"all": list(range(path.dim // 3))}
    names = [a.name if a.element is None else a.element.symbol for a in path.topology.atoms]
    return {name: [i for i, other in enumerate(names) if other == name] for name in dict.fromkeys(names)}


def _apart(path: Frames, index: np.ndarray, pairs: np.ndarray) -> Iterator[np.ndarray]:
    """Distances (n, pairs) in some frames, a part of them after another."""
    for start in range(0, len(index), _ROWS):
        x = path.gather(index[start : start + _ROWS]).reshape(-1, path.dim // 3, 3).astype(float)
        yield np.linalg.norm(x[:, pairs[:, 0]] - x[:, pairs[:, 1]], axis=-1)
