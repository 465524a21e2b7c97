"""Beads: linear maps from atoms to the sites of a coarse-grained model."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bayescg.arguments import array_of, check_choice, did_you_mean, whole_rows
from bayescg.errors import ConfigError, DataError, TopologyError
from bayescg.features.bead_topology import Site, bead_topology, neighbours_of, sites_of
from bayescg.features.interface import Features, register, scripting
from bayescg.features.topology import atom_label, select_atoms
from bayescg.topologies import read_topology

if TYPE_CHECKING:
    import mdtraj

__all__ = ["Beads", "beads"]


@register
class Beads(Features):
    r"""Positions of beads, :math:`R_I = \sum_i c_{Ii} r_i` with :math:`\sum_i c_{Ii} = 1`, in nm.

    A linear map, so that forces have one too; see :func:`bayescg.sampling.mapped_forces`. As features they are flat,
    ``(..., 3 beads)``, and not invariant to anything, as `Cartesian` ones are; `bead_positions` are
    ``(..., beads, 3)``.

    Parameters
    ----------
    columns : int
        Number of atoms; of coordinates of a toy system, where there are no sites.
    rows : sequence of (sequence of int, sequence of float)
        For each bead its atoms, from 0, and their coefficients.
    labels : sequence of str
        A name for each bead.
    sites : sequence of (str, str, str, int, int), optional
        What each bead is called in a topology: its name, element (empty if none), residue, and the numbers of residue
        and chain.
    bonds : sequence of (int, int)
        Beads that are neighbours along a molecule.
    masses : sequence of float, optional
        In dalton.
    apart : str
        Of beads whose atoms are no one molecule, the first: they have no place in a periodic box.

    Attributes
    ----------
    matrix : Tensor, (beads, columns)
        The coefficients.
    masses : Tensor, (beads,), or None
        :math:`1 / \sum_i c_{Ii}^2 / m_i`, that of all atoms for a centre of mass; None of toy systems.

    Raises
    ------
    ConfigError
        A bead has no atoms, or coefficients that are not finite or do not add up to 1.
    TopologyError
        An atom does not exist.

    Source
    ------
    Noid et al., J. Chem. Phys. 128, 244114 (2008), eqs (5) and (39): maps and the masses that go with them.
    """

    matrix: Tensor
    masses: Tensor | None

    def __init__(
        self,
        columns: int,
        rows: Sequence[Sequence[Sequence[float]]],
        labels: Sequence[str],
        sites: Sequence[Site] | None = None,
        bonds: Sequence[Sequence[int]] = (),
        masses: Sequence[float] | None = None,
        apart: str = "",
    ):
        molecule = sites is not None
        super().__init__(size=(3 if molecule else 1) * len(rows), atoms=columns if molecule else None)
        matrix = _matrix(columns, rows, labels, "atom" if molecule else "coordinate")
        self.columns, self.labels, self.apart = columns, list(labels), apart
        self.sites = None if sites is None else [tuple(site) for site in sites]
        self.bonds = [[int(a), int(b)] for a, b in bonds]
        self.register_buffer("matrix", matrix, persistent=False)
        self.register_buffer(
            "masses", None if masses is None else torch.tensor(masses, dtype=torch.float64), persistent=False
        )

    @property
    def names(self) -> list[str]:
        """``x(CA 9), y(CA 9), z(CA 9), ...`` as for `Cartesian`; of toy systems the labels."""
        return self.labels if self.atoms is None else [f"{axis}({label})" for label in self.labels for axis in "xyz"]

    @property
    def topology(self) -> "mdtraj.Topology | None":
        """The beads as atoms, with bonds between neighbours; None of toy systems."""
        return None if self.sites is None else bead_topology(self.sites, self.bonds)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        rows = [(row.nonzero().flatten().tolist(), row[row != 0].tolist()) for row in self.matrix]
        return {
            "type": "Beads",
            "columns": self.columns,
            "rows": [list(row) for row in rows],
            "labels": self.labels,
            "sites": None if self.sites is None else [list(site) for site in self.sites],
            "bonds": self.bonds,
            "masses": None if self.masses is None else self.masses.tolist(),
            "apart": self.apart,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` to ``(..., 3 beads)``; flat coordinates ``(..., dim)`` to ``(..., beads)``."""
        positions = self.bead_positions(x)
        return positions if self.atoms is None else positions.flatten(-2)

    def bead_positions(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` to ``(..., beads, 3)``; flat coordinates ``(..., dim)`` to ``(..., beads)``."""
        if self.atoms is not None:
            return self.matrix.to(self.checked(x).dtype) @ x
        if not scripting() and (not isinstance(x, Tensor) or x.ndim < 1 or x.shape[-1] != self.columns):
            what = tuple(x.shape) if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise TopologyError(f"these beads are of {self.columns} flat coordinates, not of {what}")
        return x @ self.matrix.to(x.dtype).mT

    def check_frames(self, frames: Any) -> None:
        """See `Features.check_frames`: a bead of several molecules has no place in a periodic box."""
        if self.apart and frames.box is not None:
            raise DataError(
                f"bead {self.apart} is made of several molecules, whose distance is not defined in a periodic box: "
                "make each bead of atoms of one molecule, or load the frames without a box"
            )

    def extra_repr(self) -> str:
        """What `print` shows."""
        what = "coordinates" if self.atoms is None else "atoms"
        return f"{', '.join(self.labels[:8])}{', ...' * (len(self.labels) > 8)} of {self.columns} {what}"


def beads(top: Any, beads: Any, centre: str = "mass") -> Beads:
    """Beads of a coarse-grained model: atoms, centres of groups of atoms, or any linear map.

    Parameters
    ----------
    top : topology or int
        path, topology of mdtraj or OpenMM, mdtraj trajectory, Frames or molecular system; or the number of coordinates
        of a toy system, whose beads are a matrix.
    beads : str, sequence or array
        ``"CA"``: a bead at every atom of this name. ``"residues"``: a bead at the centre of every residue. A list: a
        bead for each entry, which is the name of an atom (``"CA"``, ``"CA ALA"`` or ``"CA ALA2"`` with the residue's
        name, or its name and number), an expression of mdtraj's selection language (``"resid 1 and sidechain"``), or a
        list of atom indices from 0; of several atoms their centre. An array ``(beads, atoms)``: the coefficients.
    centre : {"mass", "geometry"}
        Of the atoms of a bead.

    Returns
    -------
    Beads

    Raises
    ------
    ConfigError
        The coefficients of a bead do not add up to 1, a bead has no atoms, or a name stands for several atoms.
    TopologyError
        An atom does not exist, or has no mass.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> top = peptide("ACE-ALA-NME")[0]
    >>> mapping = beads(top, ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"])
    >>> mapping.matrix.shape, mapping.labels
    (torch.Size([5, 22]), ['C 5', 'N 7', 'CA 9', 'C 15', 'N 17'])
    >>> [(str(a), str(b)) for a, b in mapping.topology.bonds]
    [('ACE1-C', 'ALA2-N'), ('ALA2-N', 'ALA2-CA'), ('ALA2-CA', 'ALA2-C'), ('ALA2-C', 'NME3-N')]
    >>> mapping.bead_positions(torch.zeros(100, 22, 3)).shape
    torch.Size([100, 5, 3])
    >>> beads(top, "residues").masses
    tensor([43.0448, 71.0782, 30.0493], dtype=torch.float64)
    """
    if isinstance(top, int):
        matrix = np.atleast_2d(array_of(beads, "beads="))
        return Beads(top, _rows(matrix, top), [_coordinates(row, k) for k, row in enumerate(matrix)])
    topology, _ = read_topology(top)
    check_choice(centre=(centre, ("mass", "geometry")))
    if (matrix := _as_matrix(beads)) is not None:
        rows = _rows(matrix, topology.n_atoms)
    else:
        rows = [_centre(topology, group, centre) for group in _groups(topology, beads)]
    labels = _labels(topology, rows)
    _matrix(topology.n_atoms, rows, labels, "atom")  # before anything is read of rows that may be empty
    sites, masses = sites_of(topology, rows)
    bonds, apart = neighbours_of(topology, [atoms for atoms, _ in rows])
    name = "" if apart is None else labels[apart]
    return Beads(topology.n_atoms, rows, labels, sites, bonds, masses, name)


def _matrix(columns: int, rows: Sequence[Any], labels: Sequence[str], what: str) -> Tensor:
    """Coefficients ``(beads, columns)`` of rows that are right."""
    if not rows:
        raise ConfigError("a map needs at least one bead")
    if len(labels) != len(rows):
        raise ConfigError(f"{len(rows)} beads have {len(labels)} labels")
    matrix = torch.zeros(len(rows), columns, dtype=torch.float64)
    for k, (label, (atoms, coefficients)) in enumerate(zip(labels, rows, strict=True)):
        if not len(atoms):
            raise ConfigError(f"bead {k} ({label}) has no {what}s: give it at least one, or leave it out")
        if min(atoms) < 0 or max(atoms) >= columns:
            raise TopologyError(f"bead {k} ({label}): {what}s {list(atoms)} are not among 0 to {columns - 1}")
        total = float(np.sum(coefficients))
        if not abs(total - 1) < 1e-5:
            raise ConfigError(
                f"bead {k} ({label}): its coefficients add up to {total:.6g}, not to 1, so that it would not move "
                f"along with its {what}s: divide them by their sum"
            )
        matrix[k, torch.as_tensor(atoms)] = torch.as_tensor(coefficients, dtype=torch.float64)
    return matrix


def _as_matrix(beads: Any) -> NDArray[np.float64] | None:
    """Coefficients, where these are an array or lists of floats."""
    if isinstance(beads, Tensor):
        beads = beads.detach().cpu().numpy()
    try:
        array = np.asarray(beads)
    except ValueError:  # lists of several lengths: of atoms
        return None
    is_matrix = isinstance(beads, np.ndarray) and array.dtype.kind in "fiu"
    return array.astype(np.float64) if is_matrix or (array.ndim == 2 and array.dtype.kind == "f") else None


def _rows(matrix: NDArray[np.floating], columns: int) -> list[Any]:
    """Atoms and coefficients of each bead of a matrix."""
    if matrix.ndim != 2 or matrix.shape[1] != columns:
        raise ConfigError(f"a map of {columns} columns is an array (beads, {columns}), not {matrix.shape}")
    return [(np.flatnonzero(row).tolist(), row[row != 0].astype(float).tolist()) for row in matrix]


def _coordinates(row: NDArray[np.floating], k: int) -> str:
    """``x2`` where a bead is this coordinate, else its number."""
    where = np.flatnonzero(row)
    return f"x{where[0] + 1}" if len(where) == 1 else f"bead {k + 1}"


def _groups(topology: Any, beads: Any) -> list[list[int]]:
    """Atoms of each bead."""
    if beads == "residues":
        return [[atom.index for atom in residue.atoms] for residue in topology.residues]
    if isinstance(beads, str):
        atoms = [atom.index for atom in topology.atoms if atom.name == beads]
        if not atoms:
            raise TopologyError(f"no atom is called {beads!r}; for a bead at a selection, give a list, [{beads!r}]")
        return [[atom] for atom in atoms]
    try:
        entries = list(beads)
    except TypeError:
        raise ConfigError(
            f"beads={beads!r}: give a name, a list of names, selections or atom indices, or a matrix"
        ) from None
    return [_atoms(topology, entry, k) for k, entry in enumerate(entries)]


def _atoms(topology: Any, entry: Any, k: int) -> list[int]:
    if not isinstance(entry, str):
        return whole_rows([[entry] if np.ndim(entry) == 0 else entry], f"atoms of bead {k}")[0]
    if re.fullmatch(r"[^\s()]+( [A-Za-z]\w*)?", entry):
        name, _, residue = entry.partition(" ")
        atoms = [a for a in topology.atoms if a.name == name and residue in ("", a.residue.name, str(a.residue))]
        if len(atoms) > 1:
            which = ", ".join(f"{name} {atom.residue}" for atom in atoms[:4])
            raise ConfigError(
                f"bead {k}: {len(atoms)} atoms are called {entry!r}; say which one ({which}), or for a bead at each of "
                f"them give {name!r} in place of the list"
            )
        if atoms:
            return [atoms[0].index]
    try:
        return select_atoms(topology, entry).tolist()
    except (ConfigError, TopologyError) as error:
        names = {n for a in topology.atoms for n in (a.name, f"{a.name} {a.residue.name}", f"{a.name} {a.residue}")}
        near = did_you_mean(entry, sorted(names))
        is_name = near or re.fullmatch(r"[A-Z]\w*( \w+)?", entry)
        if is_name:  # what the parser of selections says of it would lead astray
            raise TopologyError(f"bead {k}: no atom is called {entry!r}{near and ': ' + near.strip()}") from None
        raise type(error)(f"bead {k}: no atom is called {entry!r}, and as an {error}") from error


def _centre(topology: Any, group: list[int], centre: str) -> tuple[list[int], list[float]]:
    """Atoms and their coefficients."""
    if len(set(group)) != len(group):
        raise ConfigError(f"a bead holds an atom twice: {group}")
    if group and not 0 <= min(group) <= max(group) < topology.n_atoms:
        raise TopologyError(f"atoms {group} do not exist among {topology.n_atoms}, numbered from 0")
    if centre == "geometry" or len(group) < 2:
        return group, [1 / max(1, len(group))] * len(group)
    masses = np.array([atom.element.mass if atom.element else 0.0 for atom in map(topology.atom, group)])
    if not (masses > 0).all():
        atom = group[int(np.argmin(masses))]
        raise TopologyError(f'atom {atom_label(topology, atom)} has no element, and so no mass; use centre="geometry"')
    return group, (masses / masses.sum()).tolist()


def _labels(topology: Any, rows: Sequence[Any]) -> list[str]:
    """A name for each bead: that of its atom, or of its residue, or its number."""
    labels: list[str] = []
    for k, (atoms, _) in enumerate(rows):
        residues = {topology.atom(i).residue for i in atoms if 0 <= i < topology.n_atoms}
        if len(atoms) == 1 and residues:
            label = atom_label(topology, atoms[0])
        else:
            label = str(*residues) if len(residues) == 1 else f"bead {k + 1}"
        labels.append(label if label not in labels else f"bead {k + 1}")
    return labels
