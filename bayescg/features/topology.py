"""Read a topology, and coordinates where there are some, from anything that carries them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayescg.errors import ConfigError, TopologyError

__all__ = ["atom_label", "read_topology", "select_atoms"]


def read_topology(top: Any) -> tuple[Any, NDArray[np.float64] | None]:
    """Topology and first-frame positions of a molecule.

    Parameters
    ----------
    top : mdtraj.Topology, mdtraj.Trajectory, openmm.app.Topology, bayescg Frames, or path
        A path is to a PDB file or another format that holds both topology and coordinates.

    Returns
    -------
    topology : mdtraj.Topology
    positions : array or None
        ``(atoms, 3)`` in nm; None where `top` has no coordinates.

    Raises
    ------
    TopologyError
        The file cannot be read, or the object carries no topology.
    """
    import mdtraj

    if isinstance(top, str | Path):
        if not Path(top).is_file():
            raise TopologyError(f"{top}: no such file; give a PDB file, or a topology object")
        try:
            top = mdtraj.load_frame(str(top), 0)
        except Exception as error:  # each reader of mdtraj fails in its own way
            raise TopologyError(
                f"{top}: no topology can be read from it ({error}); give a PDB file"
            ) from error
    if isinstance(top, mdtraj.Topology):
        return top, None
    if isinstance(top, mdtraj.Trajectory):
        return top.topology, np.asarray(top.xyz[0], dtype=np.float64)
    if type(top).__module__.startswith("openmm."):
        return mdtraj.Topology.from_openmm(top), None
    topology, positions = getattr(top, "topology", None), getattr(top, "positions", None)
    if topology is None:
        raise TopologyError(
            f"{type(top).__name__} carries no topology; give an mdtraj or OpenMM topology, a PDB file, "
            "or Frames of a molecule"
        )
    first = None if positions is None else np.asarray(positions[0], dtype=np.float64)
    return read_topology(topology)[0], first


def select_atoms(topology: Any, select: str) -> NDArray[np.int64]:
    """Indices of the atoms that an expression of mdtraj's selection language names.

    Raises
    ------
    ConfigError
        The expression does not parse.
    TopologyError
        It names no atom.
    """
    try:
        chosen = topology.select(select)
    except Exception as error:  # mdtraj's parser raises several kinds
        raise ConfigError(f"atom selection {select!r} is not understood by mdtraj: {error}") from error
    if len(chosen) == 0:
        raise TopologyError(f"atom selection {select!r} names none of the {topology.n_atoms} atoms")
    return np.asarray(chosen, dtype=np.int64)


def atom_label(topology: Any, index: int) -> str:
    """Name and serial number of an atom; serial numbers start at 1, as in PDB files and PLUMED."""
    return f"{topology.atom(index).name} {index + 1}"
