"""Observables of a conformation, as differentiable functions of positions, for checks against data.

Each is a module with a ``name`` and a ``unit`` that maps positions ``(..., atoms, 3)`` in nm to ``(...)``.
`from_names` makes them from a topology.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from bayescg.errors import ConfigError, TopologyError
from bayescg.features.superpose import optimal_rotation
from bayescg.features.topology import as_reference
from bayescg.features.torsions import KINDS, find_torsions, torsion_sin_cos
from bayescg.topologies import read_topology

__all__ = ["NAMES", "Distance", "Observable", "RadiusOfGyration", "Rmsd", "Torsion", "from_names"]


class Observable(nn.Module):
    """A named number of a conformation.

    Parameters
    ----------
    name, unit : str
        What a figure's axis says.
    atoms : int
        Number of atoms that ``forward`` expects.
    """

    def __init__(self, name: str, unit: str, atoms: int):
        super().__init__()
        self.name = name
        self.unit = unit
        self.atoms = atoms

    def checked(self, x: Tensor) -> Tensor:
        """Return positions unchanged, or raise TopologyError where they are not ``(..., atoms, 3)``."""
        if x.shape[-2:] != (self.atoms, 3):
            raise TopologyError(
                f"{self.name} was made for {self.atoms} atoms, positions of shape (..., {self.atoms}, 3), "
                f"not {tuple(x.shape)}"
            )
        return x


class RadiusOfGyration(Observable):
    """Root-mean-square distance of the atoms from their centre, in nm.

    Parameters
    ----------
    atoms : int
        Number of atoms.
    masses : array, optional
        Weights of the atoms, ``(atoms,)``. Default: all equal, as in ``mdtraj.compute_rg``. Given masses also weigh
        the centre, which ``mdtraj.compute_rg`` takes as the unweighted one.
    name : str
        Name of the observable.

    Examples
    --------
    >>> RadiusOfGyration(2)(torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
    tensor(1.0000)
    """

    weights: Tensor

    def __init__(self, atoms: int, masses: ArrayLike | None = None, name: str = "rg"):
        super().__init__(name, "nm", atoms)
        weights = np.ones(atoms) if masses is None else np.asarray(masses, dtype=np.float64)
        if weights.shape != (atoms,) or not (weights >= 0).all() or not weights.sum() > 0:
            raise ConfigError(f"masses must be {atoms} numbers, none negative and not all zero")
        share = torch.tensor(weights / weights.sum(), dtype=torch.get_default_dtype())
        self.register_buffer("weights", share, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., atoms, 3)`` to ``(...)``."""
        x, weights = self.checked(x), self.weights.to(x.dtype).unsqueeze(-1)
        centred = x - (weights * x).sum(-2, keepdim=True)
        return torch.linalg.vector_norm(weights.sqrt() * centred, dim=(-2, -1))


class Rmsd(Observable):
    """Root-mean-square deviation of all atoms from a reference, superposed, in nm, as ``mdtraj.rmsd``.

    Parameters
    ----------
    reference : array
        ``(atoms, 3)`` in nm, or an OpenMM quantity.

    Examples
    --------
    >>> square = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.5]])
    >>> bool(Rmsd(square)(square + 3.0) < 1e-5)
    True
    """

    reference: Tensor

    def __init__(self, reference: ArrayLike):
        target = as_reference(reference)
        super().__init__("rmsd", "nm", len(target))
        centred = torch.tensor(target - target.mean(axis=0), dtype=torch.get_default_dtype())
        self.register_buffer("reference", centred, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., atoms, 3)`` to ``(...)``."""
        x = self.checked(x)
        x, reference = x - x.mean(-2, keepdim=True), self.reference.to(x.dtype)
        aligned = x @ optimal_rotation(x.mT @ reference).mT
        return torch.linalg.vector_norm(aligned - reference, dim=(-2, -1)) / self.atoms**0.5


class Distance(Observable):
    """Distance between two atoms, in nm.

    Parameters
    ----------
    atoms : int
        Number of atoms.
    pair : (int, int)
        Atom indices, from 0.
    name : str
        Name of the observable.
    """

    def __init__(self, atoms: int, pair: tuple[int, int], name: str):
        super().__init__(name, "nm", atoms)
        self.pair = pair

    def forward(self, x: Tensor) -> Tensor:
        """``(..., atoms, 3)`` to ``(...)``."""
        x = self.checked(x)
        return torch.linalg.vector_norm(x[..., self.pair[0], :] - x[..., self.pair[1], :], dim=-1)


class Torsion(Observable):
    """A torsion angle in radians, in [-pi, pi], with the IUPAC sign.

    Parameters
    ----------
    atoms : int
        Number of atoms.
    quadruple : sequence of int
        Four atom indices, from 0.
    name : str
        Name of the observable.
    """

    quadruple: Tensor

    def __init__(self, atoms: int, quadruple: Sequence[int], name: str):
        super().__init__(name, "rad", atoms)
        self.register_buffer("quadruple", torch.tensor([list(quadruple)]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., atoms, 3)`` to ``(...)``."""
        sine, cosine = torsion_sin_cos(self.checked(x), self.quadruple)
        return torch.atan2(sine, cosine).squeeze(-1)


def _rg(topology: Any, reference: ArrayLike | None) -> list[Observable]:
    return [RadiusOfGyration(topology.n_atoms)]


def _rg_mass(topology: Any, reference: ArrayLike | None) -> list[Observable]:
    masses = [atom.element.mass if atom.element is not None else 0.0 for atom in topology.atoms]
    return [RadiusOfGyration(topology.n_atoms, masses, name="rg_mass")]


def _rmsd(topology: Any, reference: ArrayLike | None) -> list[Observable]:
    if reference is None:
        raise ConfigError("rmsd needs a reference conformation: give reference=, of shape (atoms, 3) in nm")
    return [Rmsd(as_reference(reference, topology.n_atoms, topology))]


def _end_to_end(topology: Any, reference: ArrayLike | None) -> list[Observable]:
    heavy = [atom for atom in topology.chain(0).atoms if atom.element is None or atom.element.symbol != "H"]
    # GROMACS' files know no chains: water and ions would follow
    heavy = [atom.index for atom in [atom for atom in heavy if atom.residue.is_protein] or heavy]
    if len(heavy) < 2:
        raise TopologyError("end_to_end needs two atoms other than hydrogen in the first chain")
    return [Distance(topology.n_atoms, (heavy[0], heavy[-1]), "end_to_end")]


def _torsions(topology: Any, name: str) -> list[Observable]:
    rows, whole = find_torsions(topology, name), name in KINDS
    return [Torsion(topology.n_atoms, row, name if whole and len(rows) == 1 else label) for row, label in rows]


_BUILDERS = {
    "rg": _rg,
    "rg_mass": _rg_mass,
    "rmsd": _rmsd,
    "end_to_end": _end_to_end,
}

NAMES = (*_BUILDERS, *KINDS)
"""What `from_names` knows; torsions also by residue, such as ``phi ALA-2``."""


def from_names(names: Sequence[str], topology: Any, reference: ArrayLike | None = None) -> list[Observable]:
    """Observables by name.

    Parameters
    ----------
    names : sequence of str
        Out of `NAMES`: ``rg`` (equal weights, as mdtraj) and ``rg_mass``, radius of gyration; ``rmsd`` of all
        atoms from the reference; ``end_to_end``, between the first and the last atom of the first chain (of its
        protein, where it has one) that are not hydrogen; ``phi``, ``psi``, ``omega``, ``chi1``, ..., one for every
        such torsion: named ``phi`` where the molecule has one, ``phi ALA-2``, ... where it has more; ``phi ALA-2``
        for that one alone.
    topology : topology
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames.
    reference : array, optional
        ``(atoms, 3)`` in nm or an OpenMM quantity, for ``rmsd``. Default: the coordinates, or the first frame,
        of `topology`.

    Returns
    -------
    list of Observable

    Raises
    ------
    ConfigError
        An unknown name, or ``rmsd`` without a reference.
    TopologyError
        The molecule has no such torsion, or the reference is of another molecule.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> [(o.name, o.unit) for o in from_names(["rg", "end_to_end", "phi"], peptide("ACE-ALA-NME")[0])]
    [('rg', 'nm'), ('end_to_end', 'nm'), ('phi', 'rad')]
    >>> [o.name for o in from_names(["phi", "psi GLY-3"], peptide("ACE-ALA-GLY-NME")[0])]
    ['phi ALA-2', 'phi GLY-3', 'psi GLY-3']
    """
    unknown = [name for name in names if name not in _BUILDERS and name.partition(" ")[0] not in KINDS]
    if unknown:
        raise ConfigError(f"unknown observables {', '.join(unknown)}; use some of {', '.join(NAMES)}")
    molecule, first = read_topology(topology)
    target = first if reference is None else reference
    return [
        observable
        for name in names
        for observable in (_BUILDERS[name](molecule, target) if name in _BUILDERS else _torsions(molecule, name))
    ]
