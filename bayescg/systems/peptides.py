"""Capped peptides from their sequence: topology and coordinates, built without any file."""

import random
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from bayescg.errors import ConfigError
from bayescg.systems.side_chains import SIDE_CHAINS

if TYPE_CHECKING:
    from openmm.app import Topology

__all__ = ["peptide", "ramachandran", "set_ramachandran"]

# Extended backbone: degrees. The ring of proline fixes its own phi.
_PHI, _PSI, _OMEGA = -140.0, 140.0, 180.0
_PHI_PROLINE = -70.0

# OpenMM writes the names of the PDB's component dictionary for the caps; force fields and most tools write
# these.
_CAP_NAMES = {
    "ACE": {"H1": "HH31", "H2": "HH32", "H3": "HH33"},
    "NME": {"C": "CH3", "H1": "HH31", "H2": "HH32", "H3": "HH33"},
}


def peptide(sequence: str) -> "tuple[Topology, Any]":
    """Topology and coordinates of a capped peptide.

    Heavy atoms are placed from idealised internal coordinates (extended backbone, L-amino acids), hydrogens
    by OpenMM for pH 7 (histidine carries its proton on NE2), and clashes are removed by a short minimisation
    (AMBER ff96 with OBC2 implicit solvent). The same sequence always gives the same numbers. Atom order and
    names are AMBER's, so that ``ACE-ALA-NME`` is the alanine dipeptide of the literature: phi = atoms 4, 6,
    8, 14 and psi = atoms 6, 8, 14, 16.

    Parameters
    ----------
    sequence : str
        Residues in three-letter code joined by hyphens, between the caps ACE and NME.

    Returns
    -------
    topology : openmm.app.Topology
        One chain with all bonds.
    positions : openmm.unit.Quantity
        One position per atom, in nm.

    Raises
    ------
    ConfigError
        A residue is unknown, or a cap is missing or out of place.

    Notes
    -----
    OpenMM's AMBER files (``amber96.xml``, ``amber14-all.xml``, ...) match the result as it is. Its
    ``charmm36.xml`` describes caps as patches of the neighbouring residue and does not match separate ACE and
    NME residues.

    Examples
    --------
    >>> topology, positions = peptide("ACE-ALA-NME")
    >>> topology.getNumAtoms(), [residue.name for residue in topology.residues()]
    (22, ['ACE', 'ALA', 'NME'])
    """
    return _amber_order(*_all_atoms(tuple(_parse(sequence))))


def ramachandran(
    topology: "Topology",
) -> list[tuple[int, tuple[int, int, int, int], tuple[int, int, int, int]]]:
    """Atom indices of the backbone torsions of every residue that has both.

    Parameters
    ----------
    topology : openmm.app.Topology
        Any topology with the standard atom names N, CA and C.

    Returns
    -------
    list of (int, tuple, tuple)
        Residue index, the four atoms of phi and the four atoms of psi, in the order of the chain.

    Examples
    --------
    >>> ramachandran(peptide("ACE-ALA-NME")[0])
    [(1, (4, 6, 8, 14), (6, 8, 14, 16))]
    """
    torsions = []
    for chain in topology.chains():
        residues = [{atom.name: atom.index for atom in residue.atoms()} for residue in chain.residues()]
        indices = [residue.index for residue in chain.residues()]
        for before, here, after, index in zip(residues, residues[1:], residues[2:], indices[1:], strict=False):
            if {"N", "CA", "C"} <= here.keys() and "C" in before and "N" in after:
                n, ca, c = here["N"], here["CA"], here["C"]
                torsions.append((index, (before["C"], n, ca, c), (n, ca, c, after["N"])))
    return torsions


def set_ramachandran(topology: "Topology", xyz: np.ndarray, phi: float, psi: float) -> np.ndarray:
    """Turn every residue's backbone torsions to the given angles; nothing else changes.

    Parameters
    ----------
    topology : openmm.app.Topology
        The peptide. The phi of a proline, which its ring fixes, is left alone.
    xyz : numpy.ndarray, shape (atoms, 3)
        Positions.
    phi, psi : float
        Angles in degrees.

    Returns
    -------
    numpy.ndarray, shape (atoms, 3)
        New positions, not minimised: side chains may clash.

    Examples
    --------
    >>> topology, positions = peptide("ACE-ALA-NME")
    >>> x = set_ramachandran(topology, np.array(positions._value), -75.0, 150.0)
    >>> round(dihedral(*x[[4, 6, 8, 14]]), 6), round(dihedral(*x[[6, 8, 14, 16]]), 6)
    (-75.0, 150.0)
    """
    xyz = np.array(xyz, dtype=float)
    names = [residue.name for residue in topology.residues()]
    neighbours: list[set[int]] = [set() for _ in range(topology.getNumAtoms())]
    for a, b in topology.bonds():
        neighbours[a.index].add(b.index)
        neighbours[b.index].add(a.index)
    for residue, phi_atoms, psi_atoms in ramachandran(topology):
        for atoms, target in ((phi_atoms, phi), (psi_atoms, psi)):
            if names[residue] == "PRO" and atoms is phi_atoms:
                continue
            side = _beyond(neighbours, atoms[1], atoms[2])
            turn = np.deg2rad(target - dihedral(*xyz[list(atoms)]))
            axis = _unit(xyz[atoms[2]] - xyz[atoms[1]])
            arm = xyz[side] - xyz[atoms[2]]
            along = np.outer(arm @ axis, axis)
            xyz[side] = xyz[atoms[2]] + along + np.cos(turn) * (arm - along) + np.sin(turn) * np.cross(axis, arm)
    return xyz


def dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> float:
    """Dihedral angle a-b-c-d in degrees, IUPAC sign.

    Examples
    --------
    >>> float(dihedral(*np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 1.0], [0, 1.0, 1.0]])))
    90.0
    """
    axis = _unit(c - b)
    u, v = a - b, d - c
    u, v = u - (u @ axis) * axis, v - (v @ axis) * axis
    return float(np.rad2deg(np.arctan2(np.cross(axis, u) @ v, u @ v)))


def _parse(sequence: str) -> list[str]:
    if not isinstance(sequence, str):
        raise ConfigError(f"the sequence {sequence!r} must be a string, such as 'ACE-ALA-NME'")
    residues = sequence.strip().upper().split("-")
    names = f"ACE, NME and {', '.join(SIDE_CHAINS)}"
    for name in residues:
        if name not in {"ACE", "NME"} | SIDE_CHAINS.keys():
            raise ConfigError(f"unknown residue {name!r} in the sequence {sequence!r}; known are {names}")
    if residues[0] != "ACE" or residues[-1] != "NME":
        raise ConfigError(f"the sequence {sequence!r} must be capped: it starts with ACE and ends with NME")
    if len(residues) < 3 or {"ACE", "NME"} & set(residues[1:-1]):
        raise ConfigError(f"the sequence {sequence!r} must hold amino acids, and only those, between ACE and NME")
    return residues


def _heavy_atoms(residues: list[str]) -> "tuple[Topology, np.ndarray]":
    from openmm.app import Element, Topology

    topology = Topology()
    chain = topology.addChain()
    xyz: list[np.ndarray] = []
    # The cap's methyl carbon, carbonyl carbon and oxygen lie in the xy plane and fix the frame.
    before = {
        "CA": np.zeros(3),
        "C": np.array([1.522, 0.0, 0.0]),
    }
    before["O"] = _place(np.array([0.0, 1.0, 0.0]), before["CA"], before["C"], 1.229, 120.4, 0.0)
    before["N"] = np.array([0.0, 1.0, 0.0])  # a point that only orients the chain
    psi = 180.0
    for number, name in enumerate(residues, 1):
        if name == "ACE":
            atoms = {"CH3": before["CA"], "C": before["C"], "O": before["O"]}
        else:
            phi = _PHI_PROLINE if name == "PRO" else _PHI
            n = _place(before["N"], before["CA"], before["C"], 1.335, 116.6, psi)
            ca = _place(before["CA"], before["C"], n, 1.449, 121.9, _OMEGA)
            if name == "NME":
                atoms = {"N": n, "C": ca}
            else:
                c = _place(before["C"], n, ca, 1.522, 110.5, phi)
                psi = _PSI
                oxygen = _place(n, ca, c, 1.229, 120.4, psi - 180.0)
                atoms = {"N": n, "CA": ca, **_side_chain(name, n, ca, c), "C": c, "O": oxygen}
                before = atoms
        residue = topology.addResidue(name, chain, str(number))
        for atom, position in atoms.items():
            topology.addAtom(atom, Element.getBySymbol(atom[0]), residue)
            xyz.append(position)
    topology.createStandardBonds()
    return topology, np.array(xyz) / 10.0


@lru_cache(maxsize=32)
def _all_atoms(residues: tuple[str, ...]) -> "tuple[Topology, np.ndarray]":
    """What `_amber_order` copies; the same every time, and slow enough to be kept."""
    return _add_hydrogens(*_heavy_atoms(list(residues)))


def _side_chain(name: str, n: np.ndarray, ca: np.ndarray, c: np.ndarray) -> dict[str, np.ndarray]:
    placed = {"N": n, "CA": ca}
    for row in SIDE_CHAINS[name].splitlines():
        atom, *rest = row.split()
        if atom == "CB":  # the sign of this dihedral makes the residue an L-amino acid
            angle = 103.0 if name == "PRO" else 110.0
            placed["CB"] = _place(c, n, ca, 1.53, angle, -122.0)
        else:
            bonded, second, third = (placed[key] for key in rest[:3])
            placed[atom] = _place(third, second, bonded, *map(float, rest[3:]))
    return {atom: position for atom, position in placed.items() if atom not in ("N", "CA")}


def _add_hydrogens(topology: "Topology", xyz: np.ndarray) -> "tuple[Topology, np.ndarray]":
    from openmm import Context, LocalEnergyMinimizer, Platform, VerletIntegrator
    from openmm.app import ForceField, Modeller
    from openmm.unit import nanometer  # pyright: ignore[reportAttributeAccessIssue]

    force_field = ForceField("amber96.xml", "amber96_obc.xml")
    reference = Platform.getPlatformByName("Reference")
    modeller = Modeller(topology, xyz * nanometer)
    variants = ["HIE" if residue.name == "HIS" else None for residue in topology.residues()]
    state = random.getstate()  # Modeller draws the first guess of a hydrogen from Python's generator
    try:
        random.seed(0)
        modeller.addHydrogens(force_field, variants=variants, platform=reference)
    finally:
        random.setstate(state)
    context = Context(force_field.createSystem(modeller.topology), VerletIntegrator(0.001), reference)
    context.setPositions(modeller.positions)
    LocalEnergyMinimizer.minimize(context, tolerance=10, maxIterations=200)
    minimised = context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(nanometer)
    return modeller.topology, np.asarray(minimised)


def _amber_order(topology: "Topology", xyz: np.ndarray) -> "tuple[Topology, Any]":
    from openmm import Vec3
    from openmm.app import Topology
    from openmm.unit import nanometer  # pyright: ignore[reportAttributeAccessIssue]

    result = Topology()
    chain = result.addChain()
    new = {}
    order = []
    for residue in topology.residues():
        copy = result.addResidue(residue.name, chain, residue.id)
        atoms = list(residue.atoms())
        if residue.name == "ACE":  # AMBER lists the methyl's first hydrogen before its carbon
            atoms[0], atoms[1] = atoms[1], atoms[0]
        for atom in atoms:
            name = _CAP_NAMES.get(residue.name, {}).get(atom.name, atom.name)
            new[atom] = result.addAtom(name, atom.element, copy)
            order.append(atom.index)
    for a, b in topology.bonds():
        result.addBond(new[a], new[b])
    return result, [Vec3(*map(float, row)) for row in xyz[order]] * nanometer


def _place(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: float, angle: float, torsion: float) -> np.ndarray:
    """Position of d from the bond c-d, the angle b-c-d and the dihedral a-b-c-d (degrees)."""
    theta, phi = np.deg2rad(angle), np.deg2rad(torsion)
    axis = _unit(c - b)
    normal = _unit(np.cross(b - a, axis))
    side = np.cross(normal, axis)
    return c + length * (-np.cos(theta) * axis + np.sin(theta) * (np.cos(phi) * side + np.sin(phi) * normal))


def _beyond(neighbours: list[set[int]], fixed: int, start: int) -> list[int]:
    """Atoms on the far side of the bond fixed-start, `start` included."""
    reached, stack = {fixed, start}, [start]
    while stack:
        fresh = neighbours[stack.pop()] - reached
        reached |= fresh
        stack.extend(fresh)
    return sorted(reached - {fixed})


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)
