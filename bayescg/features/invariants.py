"""All that distances, angles and torsions tell of a molecule's shape: what a network of its energy reads."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from bayescg.errors import DataError, TopologyError
from bayescg.features.interface import Features, atom_groups, register
from bayescg.features.topology import atom_label
from bayescg.features.torsions import torsion_sin_cos
from bayescg.topologies import read_topology

__all__ = ["Invariants", "invariants"]

_STRAIGHT = 1e-5
"""Sine of an angle that positions in single precision do not tell from a straight one."""


@register
class Invariants(Features):
    """Distances in nm, cosines of angles, and sines and cosines of torsion angles.

    Parameters
    ----------
    atoms : int
        Number of atoms of the system.
    pairs, angles, torsions : sequence of sequence of int
        Atom indices, from 0; any may be empty. The second atom of an angle is its vertex.
    labels : sequence of str
        A name for each feature.
    """

    pairs: Tensor
    angles: Tensor
    quadruples: Tensor

    def __init__(
        self,
        atoms: int,
        pairs: Sequence[Sequence[int]],
        angles: Sequence[Sequence[int]],
        torsions: Sequence[Sequence[int]],
        labels: Sequence[str],
    ):
        super().__init__(size=len(pairs) + len(angles) + 2 * len(torsions), atoms=atoms)
        for name, rows, length in (("pairs", pairs, 2), ("angles", angles, 3), ("quadruples", torsions, 4)):
            groups = atom_groups(rows, length, atoms) if len(rows) else torch.zeros(0, length, dtype=torch.int64)
            self.register_buffer(name, groups, persistent=False)
        self.labels = list(labels)

    @property
    def names(self) -> list[str]:
        """``d(N 1, CA 2), cos(N 1, CA 2, C 3), ...``."""
        return list(self.labels)

    def check_positions(self, x: Tensor, numbers: Sequence[int]) -> None:
        """Refuse positions ``(n, atoms, 3)``, of frames of these numbers, in which a slope of a feature has no value.

        Raises
        ------
        DataError
            Two beads lie in one place, or three in a line through which a torsion goes.
        """

        def first(where: Tensor, beads: Tensor) -> tuple[int, str]:
            frame, row = where.nonzero()[0].tolist()
            *others, last = beads[row].tolist()
            return numbers[frame], f"{', '.join(map(str, others))} and {last}"

        x = x.double()
        distance = torch.linalg.vector_norm(x[:, self.pairs[:, 0]] - x[:, self.pairs[:, 1]], dim=-1)
        if (together := distance < 1e-6).any():
            frame, beads = first(together, self.pairs)
            raise DataError(f"beads {beads} lie in one place in frame {frame}, where no force is defined")
        triples = torch.cat([self.quadruples[:, :3], self.quadruples[:, 1:]])
        left, right = (nn.functional.normalize(x[:, triples[:, k]] - x[:, triples[:, 1]], dim=-1) for k in (0, 2))
        sine = torch.linalg.vector_norm(torch.linalg.cross(left, right), dim=-1)
        if (straight := sine < _STRAIGHT).any():
            frame, beads = first(straight, triples)
            raise DataError(
                f"beads {beads} lie in a line in frame {frame}, where the torsions through them, and so the forces, "
                "are not defined: leave the frame out, or choose beads where the chain bends"
            )

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        groups = {"pairs": self.pairs, "angles": self.angles, "torsions": self.quadruples}
        indices = {name: rows.tolist() for name, rows in groups.items()}
        return {"type": "Invariants", "atoms": self.atoms, **indices, "labels": self.labels}

    def forward(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` to ``(..., size)``.

        Gradients are finite in planar and straight conformations, too. Of atoms in one place they are not.
        """
        x = self.checked(x)
        distance = torch.linalg.vector_norm(x[..., self.pairs[:, 0], :] - x[..., self.pairs[:, 1], :], dim=-1)
        left, right = (x[..., self.angles[:, k], :] - x[..., self.angles[:, 1], :] for k in (0, 2))
        norms = torch.linalg.vector_norm(left, dim=-1) * torch.linalg.vector_norm(right, dim=-1)
        sines, cosines = torsion_sin_cos(x, self.quadruples)
        return torch.cat([distance, (left * right).sum(-1) / norms, sines, cosines], dim=-1)


def invariants(top: Any, pairs: Sequence[Sequence[int]] | None = None) -> Invariants:
    """Distances, and along the bonds cosines of angles and sines and cosines of torsions.

    Together they tell a conformation up to rotation and translation, and from its mirror image. A cluster without bonds
    has distances alone, which do not tell mirror images apart.

    Parameters
    ----------
    top : topology
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames; of beads, that of the mapping.
    pairs : sequence of (int, int), optional
        Of the distances. Default: all pairs.

    Raises
    ------
    TopologyError
        There are fewer than two atoms.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> invariants(peptide("ACE-ALA-NME")[0]).size
    349
    """
    topology, _ = read_topology(top)
    if topology.n_atoms < 2:
        raise TopologyError("one atom has no distances, and no shape")
    neighbours: list[list[int]] = [[] for _ in range(topology.n_atoms)]
    for a, b in topology.bonds:
        neighbours[a.index].append(b.index)
        neighbours[b.index].append(a.index)
    if pairs is None:
        pairs = list(combinations(range(topology.n_atoms), 2))
    atom_groups(pairs, 2, topology.n_atoms)
    angles = [(a, j, b) for j, around in enumerate(neighbours) for a, b in combinations(sorted(around), 2)]
    torsions = [
        (a, i, j, b)
        for i, around in enumerate(neighbours)
        for j in around
        if i < j
        for a in around
        for b in neighbours[j]
        if len({a, i, j, b}) == 4
    ]
    groups = [("d", pairs), ("cos", angles), ("sin", torsions), ("cos", torsions)]
    labels = [f"{what}({', '.join(atom_label(topology, i) for i in row)})" for what, rows in groups for row in rows]
    return Invariants(topology.n_atoms, pairs, angles, torsions, labels)
