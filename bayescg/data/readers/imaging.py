"""Molecules made whole across a periodic box, and put where they belong in it."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from bayescg.errors import DataError, TopologyError

if TYPE_CHECKING:
    import mdtraj

__all__ = ["Imaging", "with_their_molecules"]

LARGE = 0.1
"""Molecules with more of the atoms of the largest one are kept together; all others go around them."""

MANY = 20
"""So many large molecules are a solvent, a membrane or a melt: they stay where the box puts them."""


def bonded(topology: "mdtraj.Topology") -> csr_array:
    """Which atoms hold together, ``(atoms, atoms)``, both ways: by bonds, and inside a residue in any case.

    Virtual sites of water have no bonds, nor have hydrogens of another name than mdtraj's.
    """
    pairs = np.array([[a.index, b.index] for a, b in topology.bonds], dtype=np.int64).reshape(-1, 2)
    residue = np.array([atom.residue.index for atom in topology.atoms])
    _, label = connected_components(_both_ways(pairs, topology.n_atoms))
    groups, first = np.unique(np.stack([residue, label]), axis=1, return_index=True)
    split = np.flatnonzero(np.diff(groups[0]) == 0)
    return _both_ways(np.concatenate([pairs, np.stack([first[split], first[split + 1]], axis=1)]), topology.n_atoms)


def _both_ways(pairs: np.ndarray, atoms: int) -> csr_array:
    i, j = np.concatenate([pairs, pairs[:, ::-1]]).T
    return csr_array((np.ones(len(i), dtype=np.int8), (i, j)), shape=(atoms, atoms))


def with_their_molecules(topology: "mdtraj.Topology", atoms: np.ndarray) -> np.ndarray:
    """Indices of all atoms of the molecules that have one of `atoms`, sorted."""
    _, label = connected_components(bonded(topology))
    return np.flatnonzero(np.isin(label, label[atoms]))


class Imaging:
    """Makes the molecules of frames whole and images them, with mdtraj's ``image_molecules``.

    Parameters
    ----------
    topology : mdtraj.Topology or None
        Of the frames; its bonds say what is a molecule.

    Raises
    ------
    TopologyError
        There are no bonds, or a residue has none.
    """

    def __init__(self, topology: "mdtraj.Topology | None") -> None:
        bare = "the topology" if topology is None or topology.n_bonds == 0 else _without_bonds(topology)
        if topology is None or bare:
            raise TopologyError(
                f"whole=True needs bonds, which say what is a molecule, and {bare} has none: give one with bonds "
                "(.prmtop, .psf, .tpr by MDAnalysis, a PDB file with CONECT records or residues of names that mdtraj "
                "knows), or select= others"
            )
        self.topology = topology
        count, label = connected_components(graph := bonded(topology))
        sizes = np.bincount(label)
        large = np.flatnonzero(sizes > LARGE * sizes.max())
        if len(large) > MANY:
            large = large[:1]
        listed: list[list[Any]] = [[] for _ in range(count)]
        for atom, molecule in zip(topology.atoms, label, strict=True):
            listed[molecule].append(atom)
        self.anchors = [listed[k] for k in large]
        self.others = [listed[k] for k in np.setdiff1d(np.arange(count), large)]
        # from one atom of each molecule along its bonds, each atom after the one that it is put next to
        first = np.unique(label, return_index=True)[1]
        root = np.full(count, topology.n_atoms)
        i, j = graph.nonzero()
        rooted = csr_array(
            (np.ones(len(i) + count, dtype=np.int8), (np.r_[i, root], np.r_[j, first])),
            shape=(topology.n_atoms + 1,) * 2,
        )
        order, before = breadth_first_order(rooted, topology.n_atoms)
        tree = np.stack([before[order[1:]], order[1:]], axis=1)
        self.bonds = np.ascontiguousarray(tree[tree[:, 0] < topology.n_atoms], dtype=np.int32)

    def __call__(self, x: np.ndarray, box: np.ndarray | None, source: str) -> np.ndarray:
        """Whole molecules, (n, atoms, 3) in nm, from positions broken across boxes (n, 3, 3)."""
        import mdtraj

        if box is None:
            raise DataError(f"{source}: whole=True needs a periodic box, and there is none: leave it out")
        frames: Any = mdtraj.Trajectory(np.array(x, dtype=np.float32), self.topology)
        frames.unitcell_vectors = np.ascontiguousarray(box, dtype=np.float32)
        frames.image_molecules(
            inplace=True, anchor_molecules=self.anchors, other_molecules=self.others, sorted_bonds=self.bonds
        )
        return frames.xyz.astype(x.dtype, copy=False)


def _without_bonds(topology: "mdtraj.Topology") -> str:
    """A residue of several atoms and no bond; empty if there is none."""
    with_bonds = {atom.residue.index for bond in topology.bonds for atom in bond}
    return next((f"residue {r}" for r in topology.residues if r.n_atoms > 1 and r.index not in with_bonds), "")
