"""The door for MDAnalysis: whatever a Universe reads, atoms selected in its own language."""

import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.data.frames import Frames
from bayescg.data.readers.assembly import Assembly
from bayescg.data.readers.files import Chunk
from bayescg.errors import DataError, TopologyError

if TYPE_CHECKING:
    import mdtraj

__all__ = ["from_mdanalysis"]

CHUNK_BYTES = 2**24


def from_mdanalysis(
    atoms: Any,
    temperature: float | None = None,
    stride: int = 1,
    select: str | None = None,
    *,
    dt: float | None = None,
    whole: bool = False,
    weights: Any = None,
    memory_limit: int = 2**28,
) -> Frames:
    """Frames from an MDAnalysis Universe or AtomGroup, converted from angstrom to nm.

    Parameters
    ----------
    atoms : MDAnalysis.Universe or AtomGroup
        Whose trajectory is read, from its first frame to its last; it is left at the first. Atoms come in the order of
        the universe, each once.
    temperature : float, optional
        Temperature in K.
    stride : int
        Keep every `stride`-th frame.
    select : str, optional
        Atoms to keep, in MDAnalysis' selection language.
    dt : float, optional
        Time between saved frames in ps, where MDAnalysis does not know it.
    whole : bool
        Make molecules whole that lie broken across the periodic box, as :func:`bayescg.data.load` does.
    weights : array, (n,), optional
        Importance weights of the kept frames, unnormalised.
    memory_limit : int
        Bytes of decoded frames to hold in memory; more go to a temporary file.

    Raises
    ------
    DataError
        As :func:`bayescg.data.load`.

    Examples
    --------
    >>> import MDAnalysis
    >>> universe = MDAnalysis.Universe.empty(2, trajectory=True)
    >>> universe.atoms.positions = [[0.0, 0.0, 0.0], [1.5, 0.0, 0.0]]
    >>> from_mdanalysis(universe, dt=1.0).positions[0, 1]
    array([0.15, 0.  , 0.  ], dtype=float32)
    """
    if not hasattr(atoms, "universe"):
        raise DataError(f"from_mdanalysis reads a Universe or an AtomGroup of MDAnalysis, not a {type(atoms).__name__}")
    group = atoms.atoms
    if select is not None:
        try:
            group = group.select_atoms(select)
        except Exception as error:
            raise DataError(f"select={select!r} is not in MDAnalysis' selection language: {error}") from error
    if len(group) == 0:
        raise DataError(f"select={select!r} chooses none of {len(atoms.atoms)} atoms")
    universe = group.universe
    try:
        trajectory = universe.trajectory
    except AttributeError as error:
        raise DataError("the universe has a topology alone: make it with a trajectory, Universe(top, file)") from error
    source = str(getattr(trajectory, "filename", None) or "universe")
    if whole and not hasattr(universe.atoms, "bonds"):
        raise TopologyError(
            "whole=True needs bonds, which say what is a molecule, and the universe has none: make it of a topology "
            "with bonds (.tpr, .psf, .prmtop), or try universe.atoms.guess_bonds()"
        )
    full, indices = _topology(universe.atoms), np.unique(group.indices)
    try:
        with Assembly(full, indices, stride, memory_limit, whole=whole) as assembly:
            assembly.add(source, _chunks(universe.atoms, timed=dt is None and _has_times(trajectory)), "angstrom", dt)
            decoded = assembly.finish()
    finally:
        trajectory[0]
    return decoded.frames(
        unit="nm",
        ordered=True,
        topology=full.subset(indices.tolist()),
        temperature=temperature,
        weights=weights,
        provenance={
            "files": [source],
            "reader": "MDAnalysis",
            "select": select,
            "stride": stride,
            "whole": whole,
            "versions": {"MDAnalysis": version("MDAnalysis")},
        },
    )


def _has_times(trajectory: Any) -> bool:
    """Whether frames have times of their own: MDAnalysis counts in ps where a file has none, and warns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _ = trajectory.ts.dt
    return "time" in trajectory.ts.data or not any("no dt information" in str(w.message) for w in caught)


def _chunks(group: Any, timed: bool) -> Iterator[Chunk]:
    size = max(1, CHUNK_BYTES // (12 * len(group)))
    x, times, box = [], [], []
    trajectory = group.universe.trajectory
    for step in trajectory:
        x.append(group.positions * np.float32(0.1))
        times.append(step.time if timed else 0.0)
        if step.dimensions is not None:
            box.append(step.triclinic_dimensions * np.float32(0.1))
        if len(x) == size or step.frame == len(trajectory) - 1:
            yield Chunk(np.stack(x), np.array(times) if timed else None, np.stack(box) if len(box) == len(x) else None)
            x, times, box = [], [], []


def _topology(group: Any) -> "mdtraj.Topology":
    """The group's names, elements and bonds as mdtraj knows them."""
    import mdtraj
    from mdtraj.core.element import Element, virtual

    topology, atoms, chains, residues = mdtraj.Topology(), {}, {}, {}
    names = getattr(group, "names", [f"A{k}" for k in range(len(group))])
    elements = getattr(group, "elements", [""] * len(group))
    for atom, name, symbol in zip(group, names, elements, strict=True):
        if atom.segindex not in chains:
            chains[atom.segindex] = topology.add_chain()
        if atom.resindex not in residues:
            residue = atom.residue
            residues[atom.resindex] = topology.add_residue(
                str(getattr(residue, "resname", "UNK")), chains[atom.segindex], int(getattr(residue, "resid", 1))
            )
        try:
            element = Element.getBySymbol(str(symbol))
        except KeyError:
            element = virtual
        atoms[atom.index] = topology.add_atom(str(name), element, residues[atom.resindex])
    if hasattr(group, "bonds"):
        for bond in group.bonds.atomgroup_intersection(group, strict=True):
            topology.add_bond(*(atoms[k] for k in bond.indices))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            topology.create_standard_bonds()
    return topology
