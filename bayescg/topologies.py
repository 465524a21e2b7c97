"""The one reader of topologies: atoms, bonds and a first conformation, from anything that carries them."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayescg.errors import TopologyError

__all__ = ["bead_kinds_of", "kinds_of", "one_line", "read_topology", "topology_config", "topology_from_config"]

WITHOUT_POSITIONS = (".prmtop", ".parm7", ".prm7", ".psf", ".hoomdxml")


def read_topology(top: Any) -> tuple[Any, NDArray[np.float64] | None]:
    """Topology and first conformation of a molecule.

    Parameters
    ----------
    top : path, topology, trajectory, Frames or MolecularSystem
        A file that mdtraj reads a topology from (.pdb, .gro, .cif, .prmtop, .psf, .h5, ...), a topology of mdtraj or
        OpenMM, an ``mdtraj.Trajectory``, or anything with such a ``topology``.

    Returns
    -------
    topology : mdtraj.Topology
    positions : array or None
        ``(atoms, 3)`` in nm; None where `top` has no coordinates.

    Raises
    ------
    TopologyError
        The file cannot be read, or the object carries no topology.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> topology, positions = read_topology(peptide("ACE-ALA-NME")[0])
    >>> topology.n_atoms, positions
    (22, None)
    """
    import mdtraj

    if isinstance(top, str | os.PathLike):
        return _file(Path(top))
    if isinstance(top, mdtraj.Topology):
        return top, None
    if isinstance(top, mdtraj.Trajectory):
        first: Any = top.xyz
        return top.topology, np.asarray(first[0], dtype=np.float64)
    if hasattr(top, "getNumAtoms"):  # of OpenMM
        return mdtraj.Topology.from_openmm(top), None
    topology = getattr(top, "topology", None)
    if topology is None:
        raise TopologyError(
            f"{type(top).__name__} carries no topology; give an mdtraj or OpenMM topology, a file with the atoms "
            "(.pdb, .gro, .prmtop, ...), or Frames of a molecule"
        )
    first, frames = getattr(top, "start", None), getattr(top, "positions", None)
    if first is not None:
        first = first if np.isfinite(first).all() else None  # a system without a structure starts from NaN
    elif frames is not None and hasattr(frames, "shape"):
        first = np.asarray(frames[0], dtype=np.float64)
    return read_topology(topology)[0], first


def _file(path: Path) -> tuple[Any, NDArray[np.float64] | None]:
    import mdtraj

    if not path.is_file():
        raise TopologyError(f"{path}: no such file (looked in {path.resolve().parent}); give a file with the atoms")
    with warnings.catch_warnings():
        # mdtraj's advice is not about the user's data, and a file that it cannot parse it leaves open: leaving the
        # except block closes it
        warnings.simplefilter("ignore")
        try:
            if path.suffix.lower() in WITHOUT_POSITIONS:
                return mdtraj.load_topology(str(path)), None
            if path.suffix.lower() in (".h5", ".hdf5"):
                return _of_hdf5(path)
            try:
                return read_topology(mdtraj.load_frame(str(path), 0))
            except (NotImplementedError, TypeError):  # by formats of one frame, or with no way to the first alone
                return read_topology(mdtraj.load(str(path)))
        except Exception as error:  # each reader of mdtraj fails in its own way
            reason = one_line(error)
    raise TopologyError(
        f"{path}: no topology can be read from it: {reason}; give another file with the atoms "
        "(.pdb, .gro, .prmtop, .psf, ...), or read it with MDAnalysis and give from_mdanalysis(universe)"
    )


def _of_hdf5(path: Path) -> tuple[Any, NDArray[np.float64]]:
    """By mdtraj's parser, but h5py: PyTables, which mdtraj takes, may end the process on a damaged file."""
    import h5py
    from mdtraj.formats import HDF5TrajectoryFile

    with h5py.File(path) as file:
        content: Any = {name: file[name] for name in ("topology", "coordinates")}
        like = SimpleNamespace(_get_node=lambda _, name: content[name])
        topology = HDF5TrajectoryFile.topology.fget(like)  # type: ignore[attr-defined]
        return topology, np.asarray(content["coordinates"][0], dtype=np.float64)


def kinds_of(topology: Any) -> tuple[str, ...]:
    """Symbols of the elements of an mdtraj topology, and names of beads without any.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> kinds_of(read_topology(peptide("ACE-ALA-NME")[0])[0])[:6]
    ('H', 'C', 'H', 'H', 'C', 'O')
    """
    return tuple(getattr(atom.element, "symbol", "") or atom.name for atom in topology.atoms)


def bead_kinds_of(topology: Any) -> tuple[str, ...]:
    """Kinds of beads: what each is called, and its residue.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> bead_kinds_of(read_topology(peptide("ACE-ALA-NME")[0])[0])[4:9]
    ('ACE C', 'ACE O', 'ALA N', 'ALA H', 'ALA CA')
    """
    return tuple(f"{atom.residue.name} {atom.name}" for atom in topology.atoms)


def one_line(error: Exception) -> str:
    """What an error of another library says, on one line.

    Examples
    --------
    >>> one_line(ValueError())
    'ValueError'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("\x1b")), type(error).__name__)[:200]


def topology_config(topology: Any) -> dict[str, Any]:
    """JSON of atoms, residues and bonds, from which `topology_from_config` makes the topology again.

    Parameters
    ----------
    topology : mdtraj.Topology

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> topology, _ = read_topology(peptide("ACE-ALA-NME")[0])
    >>> topology_from_config(topology_config(topology)) == topology
    True
    """
    return {
        "chains": [
            [[r.name, r.resSeq, [[a.name, a.element.symbol] for a in r.atoms]] for r in chain.residues]
            for chain in topology.chains
        ],
        "bonds": [[a.index, b.index] for a, b in topology.bonds],
    }


def topology_from_config(config: Mapping[str, Any]) -> Any:
    """mdtraj.Topology of what `topology_config` gave."""
    import mdtraj

    topology = mdtraj.Topology()
    for residues in config["chains"]:
        chain = topology.add_chain()
        for name, number, atoms in residues:
            residue = topology.add_residue(name, chain, resSeq=number)
            for atom, symbol in atoms:
                element = mdtraj.element.get_by_symbol(symbol)
                topology.add_atom(atom, element, residue)
    atoms = list(topology.atoms)
    for i, j in config["bonds"]:
        topology.add_bond(atoms[i], atoms[j])
    return topology
