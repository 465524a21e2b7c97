"""What is refused at the door: shapes, units, weights, times and temperatures that cannot be right."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg import units
from bayescg.arguments import array_of
from bayescg.data.bias import Bias
from bayescg.data.mbar import mbar
from bayescg.data.readers import geometry
from bayescg.data.store import ROWS, computed
from bayescg.errors import DataError, TopologyError, UnitError

if TYPE_CHECKING:
    import mdtraj

__all__ = [
    "box_vectors",
    "check_atoms",
    "numbers",
    "places",
    "positive",
    "run_starts",
    "shaped",
    "time_axis",
    "trajectory_index",
    "unit_factor",
    "valid_commitments",
    "valid_energy",
    "valid_labels",
    "valid_masses",
    "valid_vectors",
    "valid_weights",
]


def unit_factor(unit: str | None) -> float:
    """Nanometres in one `unit`, which must be given."""
    if unit is None:
        raise UnitError('raw arrays have no default unit: give unit="nm", "angstrom", ... or "reduced"')
    return units.length_factor(unit)


def numbers(x: Any, source: str) -> np.ndarray:
    """An array as it is, anything else as float32."""
    if hasattr(x, "value_in_unit"):
        raise UnitError(f'{source} is an OpenMM quantity: give x.value_in_unit(openmm.unit.nanometer) and unit="nm"')
    try:
        x = x.detach().cpu() if hasattr(x, "detach") else x  # of torch
        array = np.asanyarray(x) if hasattr(x, "dtype") else np.asarray(x, dtype=np.float32)
        if np.iscomplexobj(array):
            raise DataError(f"{source} holds complex numbers")
        return array
    except (TypeError, ValueError) as error:
        raise DataError(f"{source} is not an array of numbers: {error}") from error


def shaped(x: np.ndarray, unit: str | None, topology: "mdtraj.Topology | None", source: str) -> np.ndarray:
    """`x` as (n, atoms, 3), or (n, dim) where reduced."""
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{source}: no frames in an array of shape {x.shape}; give (n, atoms, 3) or (n, dim)")
    if unit == "reduced":
        return x
    shape = x.shape
    if x.ndim == 2 and x.shape[1] % 3 == 0:
        x = x.reshape(len(x), -1, 3)
    if topology is not None and topology.n_atoms != x.shape[1] and shape[0] == 3 * topology.n_atoms:
        raise TopologyError(
            f"{source}: {shape[0]} rows are the {3 * topology.n_atoms} coordinates of the topology's "
            f"{topology.n_atoms} atoms: frames come first, so transpose the array (x.T)"
        )
    if x.ndim != 3 or x.shape[2] != 3:
        raise DataError(
            f'{source}: positions of shape {shape} are not (n, atoms, 3); use unit="reduced" for other coordinates'
        )
    if topology is not None:
        check_atoms(x.shape[1], topology, source)
    return x


def check_atoms(atoms: int, topology: "mdtraj.Topology", source: str) -> None:
    """Refuse coordinates of another number of atoms than the topology's."""
    if atoms != topology.n_atoms:
        raise TopologyError(
            f"{source} has {atoms} atoms, the topology has {topology.n_atoms}: give the topology that was simulated "
            "(with the same solvent), or a file with the same atoms"
        )


def trajectory_index(trajectory: Any, n: int) -> np.ndarray:
    """Trajectory of each frame, (n,), in unbroken runs."""
    if trajectory is None:
        return np.zeros(n, dtype=np.int32)
    index = np.asarray(trajectory)
    if index.shape != (n,) or not np.issubdtype(index.dtype, np.integer):
        raise DataError(
            f"trajectory= must hold one integer a frame, shape ({n},); it has shape {index.shape}, {index.dtype}"
        )
    starts = index[run_starts(index)]
    numbers, count = np.unique(starts, return_counts=True)
    if (count > 1).any():
        raise DataError(
            f"trajectory {numbers[count > 1][0]} is interrupted by another one: sort the frames by trajectory"
        )
    return index.astype(np.int32, copy=False)


def box_vectors(box: Any, n: int, factor: float, source: str) -> np.ndarray | None:
    """Box vectors in nm, (n, 3, 3); one box for all frames takes no memory."""
    if box is None:
        return None
    vectors = array_of(box, "box=", DataError).astype(np.float32) * np.float32(factor)
    if vectors.shape not in ((3, 3), (n, 3, 3)):
        raise DataError(f"{source}: box of shape {vectors.shape}; give vectors, (3, 3) or ({n}, 3, 3)")
    bad = ~(np.isfinite(vectors).all(axis=(-2, -1)) & (np.linalg.det(vectors) > 0))
    if np.any(bad):
        raise DataError(f"{source}: frame {int(np.flatnonzero(bad)[0])} has a box without a volume; give box=None")
    return np.broadcast_to(vectors, (n, 3, 3))


def places(trajectory: np.ndarray) -> np.ndarray:
    """Place of each frame in its trajectory, (n,).

    Examples
    --------
    >>> places(np.array([0, 0, 1, 1, 1])).tolist()
    [0, 1, 0, 1, 2]
    """
    starts = run_starts(trajectory)

    def part(rows: slice) -> np.ndarray:
        row = np.arange(rows.start, rows.stop)
        return (row - starts[np.searchsorted(starts, row, "right") - 1]).astype(np.int32)

    return computed(len(trajectory), part)


def run_starts(trajectory: np.ndarray) -> np.ndarray:
    """First frame of each trajectory, (trajectories,).

    Examples
    --------
    >>> run_starts(np.array([0, 0, 1, 1, 1])).tolist()
    [0, 2]
    """
    new = [np.zeros(1, dtype=np.int64)]
    for start in range(0, len(trajectory), ROWS):
        part = trajectory[start : start + ROWS + 1]
        new.append(start + 1 + np.flatnonzero(part[1:] != part[:-1]))
    return np.concatenate(new)


def time_axis(times: np.ndarray, source: str) -> tuple[float, float]:
    """First time and time step of evenly spaced `times` (n >= 2), which files often round to float32.

    Raises
    ------
    DataError
        Times that repeat, go back, or leave gaps.

    Examples
    --------
    >>> time_axis(np.array([0.2, 0.4, 0.6], dtype=np.float32), "a.xtc")
    (0.2, 0.2)
    """
    exact = np.asarray(times, dtype=np.float64)
    rounding = 4 * np.finfo(np.float32).eps * np.abs(exact).max()
    dt = (exact[-1] - exact[0]) / (len(exact) - 1)
    for start, step in (tuple(float(f"{v:.6g}") for v in (exact[0], dt)), (float(exact[0]), float(dt))):
        if step > 0 and np.abs(start + step * np.arange(len(exact)) - exact).max() <= rounding + 1e-3 * step:
            return start, step
    steps = np.diff(exact)
    typical = float(np.median(steps))
    k = int(np.argmax((steps <= 0) | (np.abs(steps - typical) > 0.1 * abs(typical) + rounding)))
    where = f"{source}: frames {k} and {k + 1} are at {exact[k]:g} and {exact[k + 1]:g} ps"
    if steps[k] == 0:
        raise DataError(f"{where}: a repeated time; remove the duplicate (joined restarts: gmx trjcat)")
    if steps[k] < 0:
        raise DataError(f"{where}: time goes back; sort the frames, or load the parts as separate files")
    raise DataError(f"{where}, but others are {typical:g} ps apart: load the parts on each side as separate files")


def valid_weights(weights: Any, n: int) -> np.ndarray | None:
    """Importance weights, (n,), float64."""
    if weights is None:
        return None
    w = array_of(weights, "weights=", DataError)
    if w.shape != (n,):
        raise DataError(f"weights of shape {w.shape} for {n} frames: give one a frame, ({n},), after any stride")
    bad = np.flatnonzero(~np.isfinite(w) | (w < 0))
    if len(bad):
        raise DataError(
            f"{len(bad)} weights are negative or not finite, first at frames {bad[:5].tolist()}; "
            "weights of a bias V are exp(V / kT): subtract the largest V first"
        )
    if not w.any():
        raise DataError("all weights are zero: nothing would be learned; check the bias they came from")
    return w


def unbiased(weights: Any, bias: Bias | None, n: int) -> Any:
    """Weights as they are, or those of MBAR where windows are known."""
    if bias is None:
        return weights
    if not isinstance(bias, Bias):
        raise DataError(f"bias= takes a bayescg.data.Bias, not {bias!r}")
    if len(bias) != n:
        raise DataError(f"the bias is of {len(bias)} frames, and there are {n}")
    if weights is not None:
        raise DataError("weights of biased frames follow from the bias: give bias= alone")
    log_weights = mbar(bias.energies, bias.window)[0]
    return np.exp(log_weights - log_weights.max())


def reweighed(frames: Any) -> np.ndarray | None:
    """Weights of some of many frames: as they were, or of biased ones those of MBAR of just these."""
    if frames.bias is None or frames.weights is None:
        return frames.weights
    try:
        return unbiased(None, frames.bias, len(frames))
    except DataError:  # so few that nothing connects their windows; whatever needs that will say so
        return frames.weights


def valid_vectors(vectors: Any, positions: np.ndarray, factor: float, what: str) -> np.ndarray | None:
    """Forces or momenta in the shape of `positions`, divided by `factor`; None where there are none.

    Examples
    --------
    >>> valid_vectors(np.ones((1, 3)), np.zeros((1, 1, 3)), 0.1, "array, forces")
    array([[[10., 10., 10.]]])
    """
    if vectors is None:
        return None
    f = numbers(vectors, what)
    if f.dtype not in (np.float32, np.float64):
        f = f.astype(np.float32)
    if f.shape == (len(positions), positions[:1].size):
        f = f.reshape(positions.shape)
    if f.shape != positions.shape:
        raise DataError(f"{what} of shape {f.shape} for positions of shape {positions.shape}: give one a place")
    geometry.scan(f, source=what, unit="reduced")
    return f if factor == 1.0 else np.asarray(f * f.dtype.type(1 / factor))


def valid_masses(masses: Any, positions: np.ndarray, topology: Any, source: str) -> np.ndarray | None:
    """Masses of atoms, or of each coordinate of flat positions, float64; those of the elements where none are given.

    Examples
    --------
    >>> valid_masses([1, 2], np.zeros((5, 2)), None, "array")
    array([1., 2.])
    """
    if masses is None:
        elements = [] if topology is None else [atom.element for atom in topology.atoms]
        complete = bool(elements) and all(element is not None and element.mass for element in elements)
        return np.array([element.mass for element in elements]) if complete else None
    m = array_of(masses, "masses=", DataError)
    if m.shape != (positions.shape[1],):
        each = "atom" if positions.ndim == 3 else "coordinate"
        raise DataError(f"{source}: masses of shape {m.shape}: give one for each {each}, ({positions.shape[1]},)")
    if not (np.isfinite(m) & (m > 0)).all():
        raise DataError(f"{source}: the mass of number {int(np.argmin(m))} is {m.min():g}; masses are positive")
    return m


def valid_energy(energy: Any, n: int, factor: float, source: str) -> np.ndarray | None:
    """Energies, (n,), float64, in kJ/mol, NaN where not known; given in units of `factor` kJ/mol."""
    if energy is None:
        return None
    e = array_of(energy, "energy=", DataError)
    if e.shape != (n,):
        raise DataError(f"{source}: energies of shape {e.shape} for {n} frames: give one a frame, ({n},)")
    infinite = np.flatnonzero(np.isinf(e))
    if len(infinite):
        raise DataError(
            f"{source}: {len(infinite)} energies are infinite, first at frames {infinite[:5].tolist()}; leave these "
            "frames out, or give NaN where an energy is not known"
        )
    if np.isnan(e).all():
        raise DataError(f"{source}: none of the {n} energies is known (all are NaN); give energy=None")
    return e * factor


def valid_labels(labels: Any, n: int) -> np.ndarray | None:
    """Labels, (n,), int64, from 0; -1 where not known."""
    if labels is None:
        return None
    classes = np.asarray(labels)
    if classes.shape != (n,) or not np.issubdtype(classes.dtype, np.integer):
        raise DataError(f"labels= must hold one integer a frame, shape ({n},); it is {classes.shape}, {classes.dtype}")
    if classes.min() < -1:
        frame = int(np.argmin(classes))
        raise DataError(
            f"label {classes[frame]} of frame {frame}: number the classes 0, 1, ... (np.unique with inverse), and give "
            "-1 where one is not known"
        )
    return classes.astype(np.int64)


def valid_commitments(commitments: Any, n: int) -> np.ndarray | None:
    """Counts of shots, (n, regions), int64.

    Examples
    --------
    >>> valid_commitments([[20, 0], [7, 13]], 2).sum(1)
    array([20, 20])
    """
    if commitments is None:
        return None
    counts = np.asarray(commitments)
    if counts.ndim != 2 or len(counts) != n or counts.shape[1] < 2 or not np.issubdtype(counts.dtype, np.integer):
        raise DataError(
            f"commitments= must hold, for each of {n} frames, how many of its shots reached each of two regions or "
            f"more, integers of shape ({n}, regions); it is {counts.shape}, {counts.dtype}"
        )
    if counts.min() < 0:
        frame = int(np.argmin(counts.min(1)))
        raise DataError(f"frame {frame}: {counts[frame].tolist()} shots; counts cannot be negative")
    return counts.astype(np.int64)


def positive(value: Any, name: str, unit: str) -> float | None:
    """A positive number, or None; several that agree (one a file) count as one.

    Examples
    --------
    >>> positive([300.0, 300.0], "temperature", "K")
    300.0
    """
    if value is None:
        return None
    several = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
    entries: Any = value if several else [value]
    try:
        values = np.asarray([float(v) for v in entries])
    except (TypeError, ValueError):
        raise DataError(f"{name} must be a number ({unit}), not {value!r}") from None
    if not (np.isfinite(values) & (values > 0)).all():
        raise DataError(f"{name} must be positive and finite ({unit}), not {value!r}")
    if len(values) == 0 or (values != values[0]).any():
        raise DataError(f"mixed values of {name}, {value!r}: load one at a time, or reweight to one and give weights=")
    return float(values[0])
