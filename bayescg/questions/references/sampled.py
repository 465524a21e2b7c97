"""What a reference holds, and its file."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from bayescg.checkpoint import write_file
from bayescg.errors import DataError

__all__ = ["Plane", "Reference", "load_reference", "reference_names"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Plane:
    """The Ramachandran plane of one residue.

    Attributes
    ----------
    counts : numpy.ndarray of int, shape (bins, bins)
        Frames in each bin: phi along the first axis, psi along the second.
    kl_floor : float
        Kullback-Leibler divergence from the exact histogram that this one is expected to have, half the sum over bins
        of the variance over the mean of its share. Nothing can come nearer to the reference than this except by chance.
    """

    counts: np.ndarray = field(repr=False)
    kl_floor: float

    @property
    def probability(self) -> np.ndarray:
        """Share of the frames in each bin, (bins, bins)."""
        return self.counts / self.counts.sum()

    @property
    def effective_frames(self) -> float:
        """So many independent frames would scatter as much: occupied bins over ``2 * kl_floor``."""
        return float((self.counts > 0).sum() / (2 * self.kl_floor))

    @property
    def kl_floor_independent(self) -> float:
        """`kl_floor` if all frames were independent: occupied bins over twice their number."""
        return float((self.counts > 0).sum() / (2 * self.counts.sum()))

    def divergence(self, probability: np.ndarray, epsilon: float = 1e-10) -> float:
        r"""Kullback-Leibler divergence :math:`\sum_b p_b \ln((p_b + \epsilon) / (q_b + \epsilon))` from this to q.

        Parameters
        ----------
        probability : array, shape (bins, bins)
            q, in the same bins; weights or counts are normalised.
        epsilon : float, default 1e-10
            Added to both, for bins that q does not visit.

        Returns
        -------
        float
            To be seen beside `kl_floor`, and beside the scatter of q's own frames: occupied bins over twice their
            number where each bin is hit, more where some are missed, whose share then stands against `epsilon`.

        Examples
        --------
        >>> plane = load_reference("alanine-dipeptide-obc1-300K").planes["ALA-2"]
        >>> plane.divergence(plane.counts)
        0.0
        """
        q = np.asarray(probability, np.float64)
        if q.shape != self.counts.shape or not (q >= 0).all() or not q.sum() > 0:
            raise DataError(f"a histogram of shape {self.counts.shape} is needed, not negative, not all zero")
        p, q = self.probability, q / q.sum()
        return float((p * np.log((p + epsilon) / (q + epsilon))).sum())


@dataclass(frozen=True)
class Reference:
    """Equilibrium of a molecule at one temperature, by sampling that crosses all its barriers.

    Attributes
    ----------
    planes : dict of str to Plane
        By residue.
    edges : numpy.ndarray, shape (bins + 1,)
        Of the bins of every angle, rad, over [-pi, pi).
    frames : int
        Their number: the sum of the counts of each plane.
    regions : dict of str to dict
        Half-open intervals of angles in degrees, ``{"phi": [120.0, 0.0]}``; the second edge below the first: around the
        end at 180. A frame lies in a region where it lies in all of its intervals. Angles have the names of `torsions`.
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

    planes: dict[str, Plane]
    edges: np.ndarray = field(repr=False)
    frames: int
    regions: dict[str, dict[str, list[float]]] = field(repr=False)
    populations: dict[str, list[float]]
    populations_by_start: dict[str, list[list[float]]] = field(repr=False)
    averages: dict[str, list[float]]
    made: dict[str, Any] = field(repr=False)

    @property
    def torsions(self) -> dict[str, list[str]]:
        """Names of phi and psi by residue: "phi" where there is one residue, "phi ALA-2" where there are more."""
        ends = [""] if len(self.planes) == 1 else [f" {residue}" for residue in self.planes]
        return {residue: [f"phi{end}", f"psi{end}"] for residue, end in zip(self.planes, ends, strict=True)}

    def contains(self, region: str, angles: Mapping[str, np.ndarray]) -> np.ndarray:
        """Whether frames lie in a region.

        Parameters
        ----------
        region : str
            One of `regions`.
        angles : dict of str to numpy.ndarray, shape (n,)
            By the names of `torsions`, rad.
        """
        return inside(self.regions[region], angles)

    def save(self, path: Path) -> None:
        """Write everything as arrays, and what is no array as JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        planes = values.pop("planes")
        values |= {"counts": np.stack([plane.counts for plane in planes.values()])}
        values |= {"kl_floor": {residue: plane.kl_floor for residue, plane in planes.items()}}
        plain: dict[str, Any] = {k: json.dumps(v) if isinstance(v, dict) else v for k, v in values.items()}
        stream = io.BytesIO()
        np.savez_compressed(stream, **plain)
        write_file(path, stream.getvalue())


def inside(region: Mapping[str, Sequence[float]], angles: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether angles in rad lie in all intervals of a region.

    Examples
    --------
    >>> inside({"psi": [60.0, -120.0]}, {"psi": np.radians([59.0, 179.0, -170.0])})
    array([False,  True,  True])
    """
    within = []
    for name, (low, high) in region.items():
        angle = np.degrees(angles[name])
        above, below = angle >= low, angle < high
        within.append(above & below if low < high else above | below)
    return np.logical_and.reduce(within)


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
    >>> list(reference.planes), reference.frames
    (['ALA-2'], 10035200)
    """
    path = Path(name) if str(name).endswith(".npz") else _HERE / f"{name}.npz"
    if not path.is_file():
        raise DataError(f"there is no reference {name}; shipped are {', '.join(reference_names())}")
    with np.load(path) as stored:
        values = {name: _plain(array) for name, array in stored.items()}
    counts, floors = values.pop("counts"), values.pop("kl_floor")
    planes = {residue: Plane(c, floor) for c, (residue, floor) in zip(counts, floors.items(), strict=True)}
    return Reference(planes, **values)


def reference_names() -> list[str]:
    """Names of the shipped references."""
    return sorted(path.stem for path in _HERE.glob("*.npz"))


def _plain(array: np.ndarray) -> Any:
    return json.loads(str(array)) if array.dtype.kind == "U" else array if array.ndim else array.item()
