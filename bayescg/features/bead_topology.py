"""Beads as a topology: what they are called, and which of them are neighbours along a molecule."""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import mdtraj

__all__ = ["Site", "bead_topology", "neighbours_of", "sites_of"]

Site = Sequence[Any]
"""Name, element, residue, number of the residue, number of the chain."""


def bead_topology(sites: Sequence[Site], bonds: Sequence[Sequence[int]]) -> "mdtraj.Topology":
    """A topology whose atoms are beads.

    Examples
    --------
    >>> bead_topology([("CA", "C", "ALA", 2, 0), ("CA", "C", "GLY", 3, 0)], [(0, 1)])
    <mdtraj.Topology with 1 chains, 2 residues, 2 atoms, 1 bonds at ...>
    """
    import mdtraj

    topology, chain, residue, before = mdtraj.Topology(), None, None, None
    for name, element, residue_name, number, chain_number in sites:
        if chain is None or before is None or before[1] != chain_number:
            chain, residue = topology.add_chain(), None
        if residue is None or before is None or before[0] != (residue_name, number):
            residue = topology.add_residue(residue_name, chain, resSeq=number)
        kind = mdtraj.element.get_by_symbol(element) if element else mdtraj.element.virtual
        topology.add_atom(name, kind, residue)
        before = (residue_name, number), chain_number
    for a, b in bonds:
        topology.add_bond(topology.atom(a), topology.atom(b))
    return topology


def sites_of(topology: Any, rows: Sequence[Any]) -> tuple[list[Site], list[float] | None]:
    """Sites of beads, and their masses in dalton; None where an atom has no element.

    A bead at an atom is called as this; another one by its number, and has no element. Its residue is that of the atom
    with the largest coefficient.
    """
    sites, masses = [], []
    for k, (atoms, coefficients) in enumerate(rows):
        first = topology.atom(atoms[int(np.argmax(np.abs(coefficients)))])
        element = first.element.symbol if len(atoms) == 1 and first.element and first.element.mass else ""
        name = first.name if len(atoms) == 1 else f"B{k + 1}"
        sites.append((name, element, first.residue.name, first.residue.resSeq, first.residue.chain.index))
        mass = np.array([e.mass if (e := topology.atom(i).element) else 0.0 for i in atoms])
        masses.append(float(1 / np.sum(np.square(coefficients) / mass)) if (mass > 0).all() else 0.0)
    return sites, masses if all(masses) else None


def neighbours_of(topology: Any, groups: Sequence[Sequence[int]]) -> tuple[list[list[int]], int | None]:
    """Pairs of beads that are neighbours along a molecule, and the first bead of several molecules.

    Each atom belongs to the bead that is the fewest bonds away; neighbours are beads between whose atoms there is a
    bond.

    Examples
    --------
    >>> import mdtraj
    >>> from bayescg.systems import peptide
    >>> chain = mdtraj.Topology.from_openmm(peptide("ACE-ALA-GLY-ALA-NME")[0])
    >>> neighbours_of(chain, [[a.index] for a in chain.atoms if a.name == "CA"])
    ([[0, 1], [1, 2]], None)
    """
    bonded: list[list[int]] = [[] for _ in range(topology.n_atoms)]
    for a, b in topology.bonds:
        bonded[a.index].append(b.index)
        bonded[b.index].append(a.index)
    owner = np.full(topology.n_atoms, -1)
    queue: deque[int] = deque()
    for bead, atoms in enumerate(groups):
        for atom in atoms:
            if owner[atom] < 0:
                owner[atom] = bead
                queue.append(atom)
    while queue:
        atom = queue.popleft()
        for other in bonded[atom]:
            if owner[other] < 0:
                owner[other] = owner[atom]
                queue.append(other)
    pairs = {tuple(sorted((int(owner[a.index]), int(owner[b.index])))) for a, b in topology.bonds}
    neighbours = [[a, b] for a, b in sorted(pairs) if 0 <= a < b]
    molecule = _molecules(bonded)
    several = (k for k, atoms in enumerate(groups) if len({molecule[atom] for atom in atoms}) > 1)
    return neighbours, next(several, None)


def _molecules(bonded: Sequence[Sequence[int]]) -> list[int]:
    """Number of the molecule of each atom."""
    molecule = [-1] * len(bonded)
    for first in range(len(bonded)):
        if molecule[first] >= 0:
            continue
        molecule[first], queue = first, [first]
        while queue:
            for other in bonded[queue.pop()]:
                if molecule[other] < 0:
                    molecule[other] = first
                    queue.append(other)
    return molecule
