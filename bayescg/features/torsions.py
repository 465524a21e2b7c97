"""Torsion angles as sines and cosines."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bayescg.errors import ConfigError, TopologyError
from bayescg.features.interface import Features, atom_groups, register
from bayescg.features.topology import atom_label, select_atoms
from bayescg.topologies import read_topology

__all__ = ["KINDS", "Torsions", "find_torsions", "torsion_sin_cos", "torsions"]

KINDS = ("phi", "psi", "omega", "chi1", "chi2", "chi3", "chi4", "chi5")
"""Torsions of a protein that can be asked for by name."""


def torsion_sin_cos(x: Tensor, quadruples: Tensor) -> tuple[Tensor, Tensor]:
    """Sine and cosine of torsion angles, with the IUPAC sign: clockwise is positive, trans is 180 degrees.

    No angle is formed, so nothing jumps at 180 degrees, and gradients are finite wherever three successive
    atoms do not lie on a line. Where they do, the angle does not exist and both numbers are zero.

    Parameters
    ----------
    x : Tensor
        Positions ``(..., atoms, 3)``.
    quadruples : Tensor of int
        ``(torsions, 4)``.

    Returns
    -------
    sin, cos : Tensor
        Each ``(..., torsions)``.
    """
    a, b, c, d = (x[..., quadruples[:, k], :] for k in range(4))
    first, axis, last = b - a, c - b, d - c
    left, right = torch.linalg.cross(first, axis), torch.linalg.cross(axis, last)
    # Both are the same multiple of the sine and of the cosine: |left| |right|.
    sine = torch.linalg.vector_norm(axis, dim=-1) * (first * right).sum(-1)
    cosine = (left * right).sum(-1)
    # In nm the sum of squares is about 1e-8: this only stops 0 / 0, and its power -3/2 fits float32.
    scale = (sine.square() + cosine.square() + 1e-24).rsqrt()
    return sine * scale, cosine * scale


@register
class Torsions(Features):
    """Sine and cosine of torsion angles, in pairs.

    Parameters
    ----------
    atoms : int
        Number of atoms of the system.
    quadruples : sequence of (int, int, int, int)
        Atom indices, from 0.
    labels : sequence of str
        A name for each torsion.
    """

    quadruples: Tensor

    def __init__(self, atoms: int, quadruples: Sequence[Sequence[int]], labels: Sequence[str]):
        super().__init__(size=2 * len(quadruples), atoms=atoms)
        if len(labels) != len(quadruples):
            raise ConfigError(f"{len(quadruples)} torsions have {len(labels)} labels")
        self.register_buffer("quadruples", atom_groups(quadruples, 4, atoms), persistent=False)
        self.labels = list(labels)

    @property
    def names(self) -> list[str]:
        """``phi ALA-2 sin, phi ALA-2 cos, ...``."""
        return [f"{label} {part}" for label in self.labels for part in ("sin", "cos")]

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        quadruples = self.quadruples.tolist()
        return {"type": "Torsions", "atoms": self.atoms, "quadruples": quadruples, "labels": self.labels}

    def forward(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` to ``(..., 2 torsions)``."""
        return torch.stack(torsion_sin_cos(self.checked(x), self.quadruples), dim=-1).flatten(-2)


def find_torsions(topology: Any, name: str) -> list[tuple[list[int], str]]:
    """Torsions of an mdtraj topology by name: the atoms of each, and its label.

    Parameters
    ----------
    topology : mdtraj.Topology
    name : str
        One of `KINDS`, for every such torsion, or a label such as ``phi ALA-2``, for that of one residue. Where
        residues of several chains share a label, it ends with the chain: ``phi ALA-2 of chain 2``.

    Raises
    ------
    ConfigError
        No kind of torsion is called so.
    TopologyError
        The molecule has no such torsion.

    Examples
    --------
    >>> import mdtraj
    >>> from bayescg.systems import peptide
    >>> molecule = mdtraj.Topology.from_openmm(peptide("ACE-ALA-GLY-NME")[0])
    >>> find_torsions(molecule, "psi"), find_torsions(molecule, "psi GLY-3")
    ([([6, 8, 14, 16], 'psi ALA-2'), ([16, 18, 21, 23], 'psi GLY-3')], [([16, 18, 21, 23], 'psi GLY-3')])
    """
    from mdtraj.geometry import dihedral

    kind, _, residue = name.partition(" ")
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of torsion {kind!r}; use {', '.join(KINDS)}, or four atom indices")
    rows = getattr(dihedral, f"indices_{kind}")(topology)
    if len(rows) == 0:
        raise TopologyError(f"the topology has no {kind} torsion; give four atom indices instead")
    labelled: dict[str, list[int]] = {}
    for row in rows:
        owner = topology.atom(int(row[1])).residue  # the second atom is in it, for every kind
        plain = f"{kind} {owner.name}-{owner.resSeq}"
        labels = plain, f"{plain} of chain {owner.chain.index + 1}", f"{plain} of residue {owner.index + 1}"
        labelled[next(label for label in labels if label not in labelled)] = [int(i) for i in row]
    if residue and name not in labelled:
        raise TopologyError(f"the topology has no torsion {name!r}; use one of {', '.join(labelled)}")
    return [(row, label) for label, row in labelled.items() if not residue or label == name]


def torsions(
    top: Any, kind: str | Sequence[str | Sequence[int]] = ("phi", "psi"), select: str | None = None
) -> Torsions:
    """Sines and cosines of torsion angles: invariant to rotation and translation, not to reflection.

    Parameters
    ----------
    top : topology
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames.
    kind : str or sequence
        Names out of `KINDS` (every such torsion in the molecule), labels such as ``psi ALA-3`` (that of one residue),
        quadruples of atom indices from 0, or a mixture of these.
    select : str, optional
        Named torsions of only these residues, in mdtraj's selection language: ``"residue 3 to 10"``, ``"chainid 0"``.

    Raises
    ------
    ConfigError
        An unknown name, or a quadruple that is not four different atoms.
    TopologyError
        The molecule has no such torsion or no such atom.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> topology, positions = peptide("ACE-ALA-NME")
    >>> omega = torsions(topology, [(8, 14, 16, 18)])
    >>> omega.names, bool(omega(torch.tensor(positions._value))[1] < -0.9)
    (['torsion CA 9, C 15, N 17, CH3 19 sin', 'torsion CA 9, C 15, N 17, CH3 19 cos'], True)
    """
    topology, _ = read_topology(top)
    residues = None if select is None else {topology.atom(i).residue for i in select_atoms(topology, select)}
    labelled: list[tuple[list[int], str]] = []
    if not isinstance(kind, Iterable):
        raise ConfigError(f"kind={kind!r} must be names of torsions, or quadruples of atoms")
    for entry in (kind,) if isinstance(kind, str) else kind:
        if isinstance(entry, str):
            labelled += [
                (row, label)
                for row, label in find_torsions(topology, entry)
                if residues is None or topology.atom(row[1]).residue in residues
            ]
        else:
            row = atom_groups([entry], 4, topology.n_atoms)[0].tolist()
            labelled.append((row, "torsion " + ", ".join(atom_label(topology, i) for i in row)))
    if not labelled:
        raise ConfigError("no torsions were asked for" if select is None else f"no {kind} of residues in {select!r}")
    return Torsions(topology.n_atoms, [row for row, _ in labelled], [label for _, label in labelled])
