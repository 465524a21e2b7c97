"""What a reference holds, and its file."""

import io
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from bayescg.checkpoint import write_file
from bayescg.errors import DataError

__all__ = ["Reference", "load_reference", "reference_names"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Reference:
    r"""Equilibrium of a molecule at one temperature, by sampling that crosses all its barriers.

    Attributes
    ----------
    counts : numpy.ndarray of int, shape (bins, bins)
        Frames in each bin of the Ramachandran plane: phi along the first axis, psi along the second.
    edges : numpy.ndarray, shape (bins + 1,)
        Of the bins of either angle, rad, over [-pi, pi).
    frames : int
        Their number: the sum of `counts`.
    effective_frames : float
        So many independent frames would scatter the histogram as much: occupied bins over ``2 * kl_floor``.
    kl_floor : float
        Kullback-Leibler divergence from the exact histogram that this one is expected to have, half the sum over bins
        of the variance over the mean of its share. Nothing can come nearer to the reference than this except by chance.
    regions : dict of str to dict
        Half-open intervals of angles in degrees, ``{"phi": [120.0, 0.0]}``; the second edge below the first: around the
        end at 180. A frame lies in a region where it lies in all of its intervals.
    populations : dict of str to (float, float)
        Share of the frames in each region, and its standard error.
    populations_by_start : dict of str to list
        The same of each of the runs, which began in different basins.
    averages : dict of str to (float, float, float)
        Mean, standard deviation and standard error of the mean of observables, nm
        (:mod:`bayescg.features.observables`).
    made : dict
        System, temperature (K), sampler, its settings and acceptance.

    Notes
    -----
    Standard errors come from the spread of independent chains.
    """

    counts: np.ndarray = field(repr=False)
    edges: np.ndarray = field(repr=False)
    frames: int
    effective_frames: float
    kl_floor: float
    regions: dict[str, dict[str, list[float]]] = field(repr=False)
    populations: dict[str, list[float]]
    populations_by_start: dict[str, list[list[float]]] = field(repr=False)
    averages: dict[str, list[float]]
    made: dict[str, Any] = field(repr=False)

    @property
    def probability(self) -> np.ndarray:
        """Share of the frames in each bin, (bins, bins)."""
        return self.counts / self.counts.sum()

    @property
    def kl_floor_independent(self) -> float:
        """`kl_floor` if all frames were independent: occupied bins over twice their number."""
        return float((self.counts > 0).sum() / (2 * self.frames))

    def contains(self, region: str, phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
        """Whether frames lie in a region.

        Parameters
        ----------
        region : str
            One of `regions`.
        phi, psi : numpy.ndarray, shape (n,)
            rad.
        """
        return inside(self.regions[region], phi, psi)

    def divergence(self, probability: np.ndarray, epsilon: float = 1e-10) -> float:
        r"""Kullback-Leibler divergence :math:`\sum_b p_b \ln((p_b + \epsilon) / (q_b + \epsilon))` from this to q.

        Parameters
        ----------
        probability : array, shape (bins, bins)
            q, in the bins of `edges`; weights or counts are normalised.
        epsilon : float, default 1e-10
            Added to both, for bins that q does not visit.

        Returns
        -------
        float
            To be seen beside `kl_floor`, and beside the scatter of q's own frames: occupied bins over twice their
            number where each bin is hit, more where some are missed, whose share then stands against `epsilon`.

        Examples
        --------
        >>> reference = load_reference("alanine-dipeptide-obc1-300K")
        >>> reference.divergence(reference.counts)
        0.0
        """
        q = np.asarray(probability, np.float64)
        if q.shape != self.counts.shape or not (q >= 0).all() or not q.sum() > 0:
            raise DataError(f"a histogram of shape {self.counts.shape} is needed, not negative, not all zero")
        p, q = self.probability, q / q.sum()
        return float((p * np.log((p + epsilon) / (q + epsilon))).sum())

    def save(self, path: Path) -> None:
        """Write everything as arrays, and what is no array as JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain: dict[str, Any] = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in values.items()}
        stream = io.BytesIO()
        np.savez_compressed(stream, **plain)
        write_file(path, stream.getvalue())


def inside(region: dict[str, list[float]], phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """Whether angles in rad lie in all intervals of a region.

    Examples
    --------
    >>> inside({"psi": [60.0, -120.0]}, np.zeros(3), np.radians([59.0, 179.0, -170.0]))
    array([False,  True,  True])
    """
    result = np.ones(np.shape(phi), bool)
    for name, (low, high) in region.items():
        angle = np.degrees({"phi": phi, "psi": psi}[name])
        above, below = angle >= low, angle < high
        result &= (above & below) if low < high else (above | below)
    return result


def load_reference(name: str | Path) -> Reference:
    """A shipped reference by name, or that of a file.

    Parameters
    ----------
    name : str or path
        One of `reference_names`, or the path of an ``.npz`` file.

    Raises
    ------
    DataError
        There is none.

    Examples
    --------
    >>> reference = load_reference("alanine-dipeptide-obc1-300K")
    >>> reference.counts.shape, bool(reference.counts.sum() == reference.frames)
    ((64, 64), True)
    """
    path = Path(name) if str(name).endswith(".npz") else _HERE / f"{name}.npz"
    if not path.is_file():
        raise DataError(f"there is no reference {name}; shipped are {', '.join(reference_names())}")
    with np.load(path) as stored:
        return Reference(**{name: _plain(array) for name, array in stored.items()})


def reference_names() -> list[str]:
    """Names of the shipped references."""
    return sorted(path.stem for path in _HERE.glob("*.npz"))


def _plain(array: np.ndarray) -> Any:
    return json.loads(str(array)) if array.dtype.kind == "U" else array if array.ndim else array.item()
