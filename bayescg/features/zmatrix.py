"""Choose a z-matrix from the bonds of a molecule, and check one: which atoms place which."""

import heapq
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

from bayescg.arguments import whole_rows
from bayescg.errors import ConfigError, TopologyError
from bayescg.features.topology import atom_label
from bayescg.features.torsions import KINDS, find_torsions

__all__ = ["checked_zmatrix", "choose_zmatrix", "protein_torsions", "stereocentres", "zmatrix_around"]

Rows = list[list[int]]

# Around each of these atoms the three neighbours turn anticlockwise, seen with the fourth, a hydrogen, behind: that
# is what L means for CA, and what isoleucine and threonine of proteins have at CB.
_ALPHA = ("CA", "N", "C", "CB")
_BETA = {"ILE": [("CB", "CA", "CG1", "CG2")], "THR": [("CB", "CA", "OG1", "CG2")]}


def choose_zmatrix(topology: Any) -> Rows:
    """A z-matrix for any molecule, from its bonds.

    The molecule is read as a tree that keeps every bond but those that close a ring; protein backbones are the last to
    be cut. The tree starts in the middle of the backbone (of the longest chain of heavy atoms in other molecules), so
    that few levels reach every atom. Around each bond a-b one atom c on b, the first child, has a proper torsion
    d-a-b-c, one of phi, psi, omega and chi where there is such a one, otherwise along the heavier branch. The other
    atoms on b are placed by their torsions c-a-b-... relative to c.

    Parameters
    ----------
    topology : mdtraj.Topology
        One molecule with all its bonds.

    Returns
    -------
    list of list of int
        Rows as `checked_zmatrix` takes them.

    Raises
    ------
    TopologyError
        Fewer than three atoms, or the bonds leave the molecule in pieces.

    Examples
    --------
    >>> import mdtraj
    >>> top = mdtraj.Topology()
    >>> residue = top.add_residue("BUT", top.add_chain())
    >>> carbons = [top.add_atom(f"C{i + 1}", mdtraj.element.carbon, residue) for i in range(4)]
    >>> for a, b in zip(carbons, carbons[1:]):
    ...     top.add_bond(a, b)
    >>> choose_zmatrix(top)
    [[2], [1, 2], [3, 2, 1], [0, 1, 2, 3]]
    """
    neighbours = _neighbours(topology)
    proper = {atoms for kind in protein_torsions(topology).values() for atoms in (tuple(kind), tuple(kind[::-1]))}
    backbone = _backbone(topology)
    hydrogen = {a.index for a in topology.atoms if a.element is not None and a.element.symbol == "H"}
    second, root, third = _middle(neighbours, backbone, hydrogen)
    parent, order = _tree(neighbours, root, backbone)
    children: dict[int, list[int]] = {atom: [] for atom in order}
    for atom in order[1:]:
        children[parent[atom]].append(atom)
    weight = _weights(order, parent, hydrogen)
    parent[root] = second  # each end of the first bond is placed as if it hung on the other
    children[root].remove(second)
    rows = [[root], [second, root], [third, root, second]]
    rows += [[c, root, second, third] for c in _heaviest_first(children[root], weight) if c != third]
    for b in [second, *(atom for atom in order[1:] if atom != second)]:
        a = parent[b]
        beside = [third, *children[a]] if a == root else children[a]
        frames = [parent[a], *(d for d in beside if d != b)] if b != second else beside
        branches = _heaviest_first(children[b], weight)
        pairs = [(d, c) for d in frames for c in branches if (d, a, b, c) in proper]
        d, first = pairs[0] if pairs else (frames[0], branches[0] if branches else -1)
        rows += [[c, b, a, d if c == first else first] for c in sorted(branches, key=lambda c: c != first)]
    return rows


def zmatrix_around(topology: Any, beads: Sequence[int]) -> Rows:
    """A z-matrix that places some atoms first, by each other alone, and all others around them.

    Each of these `beads` is placed by the three before it, and then, bond by bond, each other atom by an atom it is
    bonded to and the two placed atoms nearest to that one along the bonds: those placed first, where several are.

    Parameters
    ----------
    topology : mdtraj.Topology
        One molecule with all its bonds.
    beads : sequence of int
        Three atoms or more, in their order along the molecule.

    Returns
    -------
    list of list of int
        Rows as `checked_zmatrix` takes them.

    Raises
    ------
    TopologyError
        There are fewer beads, or the bonds leave the molecule in pieces.

    Examples
    --------
    >>> import mdtraj
    >>> top = mdtraj.Topology()
    >>> residue = top.add_residue("BUT", top.add_chain())
    >>> carbons = [top.add_atom(f"C{i + 1}", mdtraj.element.carbon, residue) for i in range(4)]
    >>> for a, b in zip(carbons, carbons[1:]):
    ...     top.add_bond(a, b)
    >>> zmatrix_around(top, [0, 1, 3])
    [[0], [1, 0], [3, 1, 0], [2, 1, 0, 3]]
    """
    if len(set(beads)) < max(3, len(beads)):
        raise TopologyError(f"atoms are placed around three others or more, each once, not around {list(beads)}")
    neighbours = _neighbours(topology)
    everything = range(topology.n_atoms)
    rows = [[atom, *beads[max(0, k - 3) : k][::-1]] for k, atom in enumerate(beads)]
    weight = {atom.index: (int(atom.element is None or atom.element.symbol != "H"), 0) for atom in topology.atoms}
    placed = list(beads)
    for b in placed:  # it grows
        distance = _distances(neighbours, b, everything)
        for atom in _heaviest_first([a for a in neighbours[b] if a not in placed], weight):
            nearest = sorted((c for c in placed if c != b), key=lambda c: distance[c])
            rows.append([atom, b, *nearest[:2]])
            placed.append(atom)
    return rows


def checked_zmatrix(rows: Iterable[Sequence[int]], atoms: int) -> tuple[Rows, list[int]]:
    """Check a z-matrix, and sort its rows by depth.

    Parameters
    ----------
    rows : iterable of sequences of int
        Each is an atom, numbered from 0, and those that place it, all in earlier rows: none for the first atom,
        ``(atom, bond)`` for the second, ``(atom, bond, angle)`` for the third and ``(atom, bond, angle, torsion)`` for
        the others.
    atoms : int
        Number of atoms, each of which has one row.

    Returns
    -------
    rows : list of list of int
        The same, sorted by depth. An atom's depth is one more than the greatest of those that place it; it is zero for
        the first three.
    sizes : list of int
        Number of atoms of each depth from 1 on.

    Raises
    ------
    ConfigError
        A row has the wrong length, places its atom by itself or by a later one, or an atom has no row or two.
    """
    table = whole_rows(rows, "rows of a z-matrix")
    depth: dict[int, int] = {}
    for number, row in enumerate(table):
        if len(row) != (wanted := min(number + 1, 4)):
            raise ConfigError(f"row {number + 1} of the z-matrix, {row}, must have {wanted} atoms")
        if len(set(row)) < len(row) or not depth.keys() >= set(row[1:]):
            raise ConfigError(f"row {number + 1} of the z-matrix, {row}, must place an atom by different, earlier ones")
        if row[0] in depth or not 0 <= row[0] < atoms:
            raise ConfigError(f"row {number + 1} of the z-matrix places atom {row[0]}: there are {atoms}, each once")
        depth[row[0]] = 1 + max(depth[atom] for atom in row[1:]) if number > 2 else 0
    if len(table) < max(atoms, 3):
        raise ConfigError(f"the z-matrix has {len(table)} rows; it needs one for each atom, and at least three")
    levels = [depth[row[0]] for row in table]
    return sorted(table, key=lambda row: depth[row[0]]), [levels.count(k) for k in range(1, max(levels) + 1)]


def protein_torsions(topology: Any) -> dict[str, list[int]]:
    """All torsions of a protein that have a name: ``{"phi ALA-2": [4, 6, 8, 14], ...}``; empty for other molecules."""
    labelled: dict[str, list[int]] = {}
    for kind in KINDS:
        with suppress(TopologyError):  # the molecule has none of this kind
            labelled |= {label: row for row, label in find_torsions(topology, kind)}
    return labelled


def stereocentres(topology: Any) -> dict[str, list[int]]:
    """Chiral centres of amino acids: ``{"ALA-2 CA": [centre, three neighbours], ...}``."""
    centres: dict[str, list[int]] = {}
    for residue in topology.residues:
        index = {atom.name: atom.index for atom in residue.atoms}
        for names in [_ALPHA, *_BETA.get(residue.name, [])]:
            if all(name in index for name in names):
                label = f"{residue.name}-{residue.resSeq} {names[0]}"
                label += f" of chain {residue.chain.index + 1}" if label in centres else ""
                centres[label] = [index[name] for name in names]
    return centres


def _neighbours(topology: Any) -> list[list[int]]:
    if topology.n_atoms < 3:
        raise TopologyError(f"internal coordinates need at least three atoms; this molecule has {topology.n_atoms}")
    bonded: list[set[int]] = [set() for _ in range(topology.n_atoms)]
    for a, b in topology.bonds:
        bonded[a.index].add(b.index)
        bonded[b.index].add(a.index)
    neighbours = [sorted(atoms) for atoms in bonded]
    reached = _distances(neighbours, 0, range(topology.n_atoms))
    if len(reached) < topology.n_atoms:
        lost = next(atom for atom in range(topology.n_atoms) if atom not in reached)
        raise TopologyError(
            f"no bonds join atom {atom_label(topology, lost)} to {atom_label(topology, 0)}: internal coordinates are "
            "those of one molecule; select one, or give a topology with all its bonds (PDB files need CONECT records "
            "for residues that are not standard)"
        )
    return neighbours


def _backbone(topology: Any) -> set[int]:
    named = protein_torsions(topology).items()
    return {atom for label, row in named for atom in row if label.startswith(("phi", "psi", "omega"))}


def _distances(neighbours: list[list[int]], start: int, within: Collection[int]) -> dict[int, int]:
    """Number of bonds from `start` to each atom that it reaches, nearest first."""
    distance, queue = {start: 0}, deque([start])
    while queue:
        atom = queue.popleft()
        for other in neighbours[atom]:
            if other in within and other not in distance:
                distance[other] = distance[atom] + 1
                queue.append(other)
    return distance


def _middle(neighbours: list[list[int]], backbone: set[int], hydrogen: set[int]) -> tuple[int, int, int]:
    """Three bonded atoms in the middle of the longest chain: of the backbone, of heavy atoms, or of all."""
    everything = set(range(len(neighbours)))
    for within in (backbone, everything - hydrogen, everything):
        if not within:
            continue
        end = list(_distances(neighbours, min(within), within))[-1]
        distance = _distances(neighbours, end, within)
        path = [list(distance)[-1]]
        while path[-1] != end:
            path.append(next(a for a in neighbours[path[-1]] if distance.get(a) == distance[path[-1]] - 1))
        if len(path) > 2:
            middle = len(path) // 2
            return path[middle - 1], path[middle], path[middle + 1]
    return neighbours[0][0], 0, neighbours[0][1]  # a ring of three, or a cluster: this atom is bonded to all others


def _tree(neighbours: list[list[int]], root: int, backbone: set[int]) -> tuple[dict[int, int], list[int]]:
    """Parents in the tree of shortest ways from the root, and its atoms, parents before their children."""
    elsewhere = len(neighbours)  # longer than any way along the backbone, which is therefore never left for a short cut
    parent: dict[int, int] = {}
    queue = [(0, root, root)]
    while queue:
        way, atom, before = heapq.heappop(queue)
        if atom not in parent:
            parent[atom] = before
            for other in neighbours[atom]:
                heapq.heappush(queue, (way + (1 if {atom, other} <= backbone else elsewhere), other, atom))
    return parent, list(parent)


def _weights(order: list[int], parent: dict[int, int], hydrogen: set[int]) -> dict[int, tuple[int, int]]:
    """Numbers of heavy atoms and of atoms in the branch that begins at each atom."""
    heavy, every = {atom: int(atom not in hydrogen) for atom in order}, dict.fromkeys(order, 1)
    for atom in order[:0:-1]:
        heavy[parent[atom]] += heavy[atom]
        every[parent[atom]] += every[atom]
    return {atom: (heavy[atom], every[atom]) for atom in order}


def _heaviest_first(atoms: list[int], weight: dict[int, tuple[int, int]]) -> list[int]:
    return sorted(atoms, key=lambda atom: (-weight[atom][0], -weight[atom][1], atom))
