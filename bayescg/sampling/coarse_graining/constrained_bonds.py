"""Which bonds a simulation held at a fixed length: what is seen in its frames, or what an OpenMM System says."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError
from bayescg.topologies import read_topology

__all__ = ["constrained_pairs", "hydrogen_bonds"]

RIGID = 1e-3
"""nm: bonds whose lengths have a smaller standard deviation are constrained. At 300 K the stiffest free ones, of C=O,
have 0.0023, and rounding to 0.001 nm in an XTC file makes 0.0004 of a rigid one."""

_FRAMES = 500
_FEWEST = 10


def constrained_pairs(constraints: Any, frames: Frames, topology: Any) -> list[tuple[int, int]]:
    """Pairs of atoms that were held at a fixed distance.

    Parameters
    ----------
    constraints : "auto", openmm.System or sequence of (int, int)
        ``"auto"``: the bonds of the topology whose lengths do not vary in the frames.
    frames : Frames
    topology : mdtraj.Topology or None

    Raises
    ------
    DataError
        The frames do not show which.
    ConfigError
        This is none of the three, or an atom does not exist.
    """
    if isinstance(constraints, str) and constraints == "auto":
        return _rigid(frames, topology)
    if not isinstance(constraints, str) and hasattr(constraints, "getNumConstraints"):
        numbers = (constraints.getConstraintParameters(k)[:2] for k in range(constraints.getNumConstraints()))
        return [(int(a), int(b)) for a, b in numbers]
    try:
        pairs = [(int(a), int(b)) for a, b in constraints]
    except (TypeError, ValueError):
        raise ConfigError(
            f'constraints={constraints!r}: give "auto", an openmm.System, or pairs of atoms, [] where no bond was '
            "constrained"
        ) from None
    atoms = frames.positions.shape[1]
    wrong = [pair for pair in pairs if not all(0 <= atom < atoms for atom in pair)]
    if wrong:
        raise ConfigError(f"constraints={wrong[0]} is of atoms that do not exist among {atoms}, numbered from 0")
    return pairs


def hydrogen_bonds(topology: Any) -> list[tuple[int, int]]:
    """Pairs of a hydrogen and the atom that carries it.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> len(hydrogen_bonds(peptide("ACE-ALA-NME")[0]))
    12
    """
    bonds = [] if topology is None else read_topology(topology)[0].bonds
    return [(a.index, b.index) for a, b in bonds if "H" in (_symbol(a), _symbol(b))]


def _rigid(frames: Frames, topology: Any) -> list[tuple[int, int]]:
    if frames.positions.ndim == 2 or frames.positions.shape[1] == 1:
        return []
    if topology is None:
        raise DataError(
            "without a topology it is not known which atoms are bonded, and perhaps constrained: load the frames with "
            "one, or give constraints=, the pairs of atoms, [] where no bond was constrained"
        )
    pairs: Sequence[tuple[int, int]] = [(a.index, b.index) for a, b in topology.bonds]
    if not pairs:
        return []
    if len(frames) < _FEWEST:
        raise DataError(
            f"{len(frames)} frames are too few to see which bonds were constrained: give constraints=, the pairs of "
            "atoms, [] where no bond was"
        )
    sample = np.unique(np.linspace(0, len(frames) - 1, _FRAMES).astype(int))
    x = frames.gather(sample).astype(np.float64)
    first, second = np.array(pairs).T
    spread = np.linalg.norm(x[:, first] - x[:, second], axis=-1).std(0)
    return [pair for pair, sd in zip(pairs, spread, strict=True) if sd < RIGID]


def _symbol(atom: Any) -> str:
    return "" if atom.element is None else str(atom.element.symbol)
