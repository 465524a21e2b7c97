"""Distances between atoms."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from bayescg.errors import ConfigError, TopologyError
from bayescg.features.interface import Features, atom_groups, register
from bayescg.features.topology import atom_label, select_atoms
from bayescg.topologies import read_topology

__all__ = ["Distances", "distances"]


@register
class Distances(Features):
    """Distances in nm between pairs of atoms; molecules must be whole.

    Parameters
    ----------
    atoms : int
        Number of atoms of the system.
    pairs : sequence of (int, int)
        Atom indices, from 0.
    labels : sequence of str
        A name for each pair.
    """

    pairs: Tensor

    def __init__(self, atoms: int, pairs: Sequence[Sequence[int]], labels: Sequence[str]):
        super().__init__(size=len(pairs), atoms=atoms)
        if len(labels) != len(pairs):
            raise ConfigError(f"{len(pairs)} pairs of atoms have {len(labels)} labels")
        self.register_buffer("pairs", atom_groups(pairs, 2, atoms), persistent=False)
        self.labels = list(labels)

    @property
    def names(self) -> list[str]:
        """``d(CA 9, N 17)``, with serial numbers from 1."""
        return [f"d({label})" for label in self.labels]

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        return {"type": "Distances", "atoms": self.atoms, "pairs": self.pairs.tolist(), "labels": self.labels}

    def forward(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` to distances ``(..., size)``."""
        x = self.checked(x)
        return torch.linalg.vector_norm(x[..., self.pairs[:, 0], :] - x[..., self.pairs[:, 1], :], dim=-1)


def distances(top: Any, pairs: Sequence[Sequence[int]] | None = None, select: str | None = None) -> Distances:
    """Distances between atoms; invariant to rotation, translation and reflection.

    Parameters
    ----------
    top : topology
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames.
    pairs : sequence of (int, int), optional
        Atom indices, from 0.
    select : str, optional
        Instead of `pairs`: all pairs among these atoms, in mdtraj's selection language.
        Default: all atoms but hydrogen.

    Raises
    ------
    ConfigError
        Both `pairs` and `select` are given, a pair is not two different atoms, or the selection does not
        parse.
    TopologyError
        An atom does not exist, or fewer than two atoms are selected.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> distances(peptide("ACE-ALA-NME")[0], pairs=[(4, 8), (6, 14)]).names
    ['d(C 5, CA 9)', 'd(N 7, C 15)']
    """
    topology, _ = read_topology(top)
    if pairs is None:
        atoms = select_atoms(topology, select or "not element H").tolist()
        if len(atoms) < 2:
            raise TopologyError(f"only one atom is selected ({atom_label(topology, atoms[0])}); no distances")
        pairs = list(combinations(atoms, 2))
    elif select is not None:
        raise ConfigError("give either pairs= or select=, not both")
    rows = atom_groups(pairs, 2, topology.n_atoms).tolist()
    labels = [f"{atom_label(topology, i)}, {atom_label(topology, j)}" for i, j in rows]
    return Distances(topology.n_atoms, rows, labels)
