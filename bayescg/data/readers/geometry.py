"""Positions that cannot be right: not finite, in another unit, broken across the box, atoms in another order."""

from typing import TYPE_CHECKING

import numpy as np

from bayescg import units
from bayescg.errors import DataError, TopologyError, UnitError

if TYPE_CHECKING:
    import mdtraj

__all__ = ["Scan", "broken", "scan"]

NEIGHBOUR_RANGE = (0.05, 0.8)
"""nm: nearest neighbours of any atoms or beads in a molecule."""

LONGEST_BOND = 0.3
"""nm: longer than any covalent bond inside a residue."""

CHUNK_BYTES = 2**25


class Scan:
    """Looks at the frames of one source chunk by chunk; :meth:`finish` refuses those that are not finite.

    Parameters
    ----------
    source : str
        File name, or what else to call the source in messages.
    unit : str
        Unit in which the source was declared; ``"reduced"`` coordinates are only checked to be finite.
    topology : mdtraj.Topology, optional
        Its bonds give the best checks.
    stride : int
        Frames of the source from one that is looked at to the next, so that messages count the source's frames.
    imaged : bool
        Whether its molecules were made whole.
    """

    def __init__(
        self,
        source: str,
        unit: str = "nm",
        topology: "mdtraj.Topology | None" = None,
        stride: int = 1,
        imaged: bool = False,
    ) -> None:
        self.source, self.unit, self.topology, self.stride, self.imaged = source, unit, topology, stride, imaged
        self.bonds = np.array([[a.index, b.index] for a, b in topology.bonds] if topology else [], int).reshape(-1, 2)
        self.seen, self.bad_count, self.bad_first, self.looked = 0, 0, [], False

    def __call__(self, x: np.ndarray, box: np.ndarray | None = None) -> None:
        """Look at the next frames: `x` in nm, (n, atoms, 3), or (n, dim) where reduced; `box` in nm, (n, 3, 3)."""
        good = np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
        if not good.all():
            bad = np.flatnonzero(~good)
            self.bad_count += len(bad)
            self.bad_first = (self.bad_first + ((bad + self.seen) * self.stride).tolist())[:5]
        if self.unit != "reduced" and good.any():
            if not self.looked:
                sample = np.flatnonzero(good)
                self._check_unit(x[sample[:: max(1, len(sample) // 50)]])
            if box is not None and len(self.bonds):
                self._check_whole(x, box)
            if not self.looked:
                self._check_order(x[sample[:: max(1, len(sample) // 50)]])
                self.looked = True
        self.seen += len(x)

    def finish(self) -> None:
        """Refuse the source if any of its frames was not finite."""
        if self.bad_count:
            more = ", ..." if self.bad_count > len(self.bad_first) else ""
            raise DataError(
                f"{self.source}: {self.bad_count} of {self.seen} frames are NaN or infinite, "
                f"frames {', '.join(map(str, self.bad_first))}{more}; remove them, or load up to the first "
                "(a simulation that blew up needs a smaller time step)"
            )

    def _check_unit(self, x: np.ndarray) -> None:
        if len(self.bonds):
            what, (low, high) = "bonded atoms", units.BOND_RANGE
            typical = float(np.median(_lengths(x, self.bonds)))
        else:
            what, (low, high) = "nearest neighbours", NEIGHBOUR_RANGE
            typical = _neighbours(x)
        if typical == 0 or low <= typical <= high:
            return
        raw = typical / units.length_factor(self.unit)
        fits = min(("nm", "angstrom", "pm"), key=lambda u: abs(np.log(raw * units.LENGTH[u] / 0.12)))
        advice = f"the numbers look like {fits}: give unit={fits!r}" if fits != self.unit else "check the unit"
        raise UnitError(
            f"{self.source}: read as {self.unit}, {what} are {typical:.3g} nm apart (median; "
            f"{low} to {high} nm is possible); {advice}"
        )

    def _check_whole(self, x: np.ndarray, box: np.ndarray) -> None:
        if len(apart := broken(x, self.bonds, box)):
            frame, bond = apart[0]
            length = float(_lengths(x[[frame]], self.bonds)[0, bond])
            half = float(np.linalg.norm(box[frame], axis=1).min() / 2)
            number = (self.seen + frame) * self.stride
            remedy = "Give whole=True, which makes them whole, or do it beforehand: `gmx trjconv -pbc mol`"
            if self.imaged:
                remedy = (
                    "whole=True could not help: bonds close a loop through the box, as in a crystal; select= others"
                )
            raise DataError(
                f"{self.source}: molecules are broken across the periodic box: frame {number}, "
                f"{self._names(bond)} are bonded but {length:.2f} nm apart, more than half the box "
                f"({half:.2f} nm). {remedy}"
            )

    def _check_order(self, x: np.ndarray) -> None:
        assert self.topology is None or self.topology.n_atoms == x.shape[1]
        for bond, length in enumerate(_lengths(x, self.bonds).mean(axis=0)):
            a, b = (self.topology.atom(int(k)) for k in self.bonds[bond])  # type: ignore[union-attr]
            atoms = a.residue is b.residue and min(_atomic_number(a), _atomic_number(b)) > 0
            if atoms and length > LONGEST_BOND:
                raise TopologyError(
                    f"{self.source}: {self._names(bond)} are bonded in the topology but {length:.2f} nm apart on "
                    "average: the topology lists the atoms in another order, belongs to another molecule, or "
                    "molecules are broken across a periodic box"
                )

    def _names(self, bond: int) -> str:
        a, b = (self.topology.atom(int(k)) for k in self.bonds[bond])  # type: ignore[union-attr]
        return f"atoms {a.index} ({a}) and {b.index} ({b})"


def broken(x: np.ndarray, bonds: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Frames and bonds, ``(k, 2)``, that are longer than half the box ``(n, 3, 3)``: their molecules are not whole.

    Examples
    --------
    >>> x = np.array([[[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]], [[0.0, 0.0, 0.0], [1.9, 0.0, 0.0]]])
    >>> broken(x, np.array([[0, 1]]), 2 * np.eye(3)[None])
    array([[1, 0]])
    """
    return np.argwhere(_lengths(x, bonds) > np.linalg.norm(box, axis=2).min(axis=1)[:, None] / 2)


def scan(
    x: np.ndarray,
    *,
    source: str,
    unit: str,
    topology: "mdtraj.Topology | None" = None,
    box: np.ndarray | None = None,
    imaged: bool = False,
) -> None:
    """Look at a whole array, a piece at a time, so that a memory map stays on disk.

    Examples
    --------
    >>> scan(np.array([[0.0], [np.nan]]), source="x", unit="reduced")
    Traceback (most recent call last):
    bayescg.errors.DataError: x: 1 of 2 frames are NaN or infinite, frames 1; ...
    """
    look = Scan(source, unit, topology, imaged=imaged)
    step = max(1, CHUNK_BYTES // max(1, x.dtype.itemsize * int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), step):
        look(x[start : start + step], None if box is None else box[start : start + step])
    look.finish()


def _atomic_number(atom: object) -> int:
    return getattr(getattr(atom, "element", None), "atomic_number", 0) or 0


def _lengths(x: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, bonds[:, 0]] - x[:, bonds[:, 1]], axis=2)


def _neighbours(x: np.ndarray) -> float:
    """Median nearest-neighbour distance, or 0 where the distances are too varied to tell a unit.

    Bonds fix the nearest neighbours of atoms and beads to a narrow range; arbitrary points have none.
    """
    from scipy.spatial import KDTree

    if x.shape[1] < 4:
        return 0.0
    nearest = np.concatenate([KDTree(frame).query(frame, k=2)[0][:, 1] for frame in x[:5]])
    low, middle, high = np.percentile(nearest, [25, 50, 75])
    return float(middle) if high - low < 0.4 * middle else 0.0
