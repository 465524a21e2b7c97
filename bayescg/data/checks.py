"""What is refused at the door, and why."""

from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg import units
from bayescg.errors import DataError, TopologyError, UnitError

if TYPE_CHECKING:
    import mdtraj

CHUNK_BYTES = 2**25


def unit_factor(unit: str | None) -> float:
    """Nanometres in one `unit`, which must be given."""
    if unit is None:
        raise UnitError(
            'raw arrays have no default unit: give unit="nm", "angstrom", ..., or "reduced" for a toy system'
        )
    return units.length_factor(unit)


def shaped(x: np.ndarray, unit: str | None, topology: "mdtraj.Topology | None") -> np.ndarray:
    """`x` as (n, atoms, 3), or as it is where reduced."""
    if x.ndim < 2 or x.size == 0:
        raise DataError(
            f"no frames in an array of shape {x.shape}: give (n, atoms, 3), or (n, dim) in reduced units"
        )
    if unit == "reduced":
        return x
    if x.ndim == 2 and x.shape[1] % 3 == 0:
        x = x.reshape(len(x), -1, 3)
    if x.ndim != 3 or x.shape[2] != 3:
        raise DataError(
            f'positions of shape {x.shape} are not (n, atoms, 3); use unit="reduced" for other coordinates'
        )
    return x


def trajectories(trajectory: Any, n: int) -> np.ndarray:
    """Trajectory indices, (n,)."""
    if trajectory is None:
        return np.zeros(n, dtype=np.int32)
    return np.asarray(trajectory, dtype=np.int32)


def box_vectors(box: Any, n: int, factor: float) -> np.ndarray | None:
    """Box vectors in nm, (n, 3, 3)."""
    if box is None:
        return None
    return np.broadcast_to(np.asarray(box, dtype=np.float32) * np.float32(factor), (n, 3, 3))


def regular_times(trajectory: np.ndarray, dt: float) -> np.ndarray:
    """Times of frames `dt` apart, from 0 in every trajectory."""
    starts = np.flatnonzero(np.r_[True, np.diff(trajectory) != 0])
    lengths = np.diff(np.r_[starts, len(trajectory)])
    return (np.arange(len(trajectory)) - np.repeat(starts, lengths)) * float(dt)


def weights(weights: Any, n: int) -> np.ndarray | None:
    """Importance weights, (n,)."""
    return None if weights is None else np.asarray(weights, dtype=np.float64)


def temperature(value: float | None, unit: str) -> float | None:
    """A positive temperature."""
    return None if value is None else float(value)


def positions(
    x: Any, *, unit: str | None, topology: "mdtraj.Topology | None", box: np.ndarray | None
) -> None:
    """Refuse positions that cannot be right."""
    if topology is not None and x.shape[1] != topology.n_atoms:
        raise TopologyError(f"the topology has {topology.n_atoms} atoms, the positions {x.shape[1]}")
    step = max(1, CHUNK_BYTES // (x.dtype.itemsize * int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), step):
        bad = ~np.isfinite(x[start : start + step]).all(axis=tuple(range(1, x.ndim)))
        if bad.any():
            raise DataError(f"frame {start + int(np.flatnonzero(bad)[0])} is not finite")
