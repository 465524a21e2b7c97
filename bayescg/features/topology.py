"""Read a topology, and coordinates where there are some, from anything that carries them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bayescg.errors import ConfigError, TopologyError
from bayescg.units import plain

__all__ = ["as_reference", "atom_label", "read_topology", "select_atoms"]


def read_topology(top: Any) -> tuple[Any, NDArray[np.float64] | None]:
    """Topology and first-frame positions of a molecule.

    Parameters
    ----------
    top : mdtraj.Topology, mdtraj.Trajectory, openmm.app.Topology, bayescg Frames or MolecularSystem, or path
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
            raise TopologyError(f"{top}: no topology can be read from it ({error}); give a PDB file") from error
    if isinstance(top, mdtraj.Topology):
        return top, None
    if isinstance(top, mdtraj.Trajectory):
        return top.topology, np.asarray(top[0].xyz, dtype=np.float64)[0]
    if hasattr(top, "getNumAtoms"):  # of OpenMM
        return mdtraj.Topology.from_openmm(top), None
    topology = getattr(top, "topology", None)
    if topology is None:
        raise TopologyError(
            f"{type(top).__name__} carries no topology; give an mdtraj or OpenMM topology, a PDB file, "
            "or Frames of a molecule"
        )
    first, frames = getattr(top, "start", None), getattr(top, "positions", None)
    if first is not None:
        first = first if np.isfinite(first).all() else None  # a system without a structure starts from NaN
    elif frames is not None and hasattr(frames, "shape"):
        first = np.asarray(frames[0], dtype=np.float64)
    return read_topology(topology)[0], first


def as_reference(reference: Any, atoms: int | None = None) -> NDArray[np.float64]:
    """Check the positions of a reference conformation: an array in nm, or an OpenMM quantity.

    Raises
    ------
    TopologyError
        The shape is not ``(atoms, 3)``, or a number is not finite.
    """
    reference = plain(reference, "nm")
    if isinstance(reference, torch.Tensor):
        reference = reference.detach().cpu()
    target = np.asarray(reference, dtype=np.float64)
    if target.ndim != 2 or target.shape[1] != 3 or atoms not in (None, len(target)):
        raise TopologyError(f"the reference has shape {target.shape} instead of ({atoms or 'atoms'}, 3)")
    bad = ~np.isfinite(target).all(axis=1)
    if bad.any():
        raise TopologyError(f"the reference is not finite at atom {int(bad.argmax()) + 1}; give another one")
    return target


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
        atoms = topology.select(select)
    except Exception as error:  # mdtraj's parser raises several kinds
        raise ConfigError(f"atom selection {select!r} is not understood by mdtraj: {error}") from error
    if len(atoms) == 0:
        raise TopologyError(f"atom selection {select!r} names none of the {topology.n_atoms} atoms")
    return np.asarray(atoms, dtype=np.int64)


def atom_label(topology: Any, index: int) -> str:
    """Name and serial number of an atom; serial numbers start at 1, as in PDB files and PLUMED."""
    return f"{topology.atom(index).name} {index + 1}"
