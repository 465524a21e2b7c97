"""Small molecules, their conformations, and rigid motions, for the tests of features."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from torch import Tensor

import bayescg as bcg
from bayescg.features import InternalCoordinates

PDB = """\
ATOM      1 HH31 ACE A   1      -0.468   1.017   0.261  1.00  0.00           H
ATOM      2  CH3 ACE A   1      -0.068   0.011   0.146  1.00  0.00           C
ATOM      3 HH32 ACE A   1      -0.426  -0.414  -0.790  1.00  0.00           H
ATOM      4 HH33 ACE A   1      -0.395  -0.605   0.982  1.00  0.00           H
ATOM      5  C   ACE A   1       1.444   0.067   0.127  1.00  0.00           C
ATOM      6  O   ACE A   1       2.023   1.144   0.267  1.00  0.00           O
ATOM      7  N   ALA A   2       2.074  -1.095  -0.050  1.00  0.00           N
ATOM      8  H   ALA A   2       1.501  -1.919  -0.172  1.00  0.00           H
ATOM      9  CA  ALA A   2       3.528  -1.275  -0.127  1.00  0.00           C
ATOM     10  HA  ALA A   2       3.981  -0.349  -0.490  1.00  0.00           H
ATOM     11  CB  ALA A   2       4.060  -1.554   1.286  1.00  0.00           C
ATOM     12  HB1 ALA A   2       3.629  -2.479   1.670  1.00  0.00           H
ATOM     13  HB2 ALA A   2       5.146  -1.650   1.263  1.00  0.00           H
ATOM     14  HB3 ALA A   2       3.795  -0.731   1.951  1.00  0.00           H
ATOM     15  C   ALA A   2       3.926  -2.405  -1.104  1.00  0.00           C
ATOM     16  O   ALA A   2       3.123  -3.296  -1.409  1.00  0.00           O
ATOM     17  N   NME A   3       5.177  -2.377  -1.586  1.00  0.00           N
ATOM     18  H   NME A   3       5.771  -1.615  -1.282  1.00  0.00           H
ATOM     19  CH3 NME A   3       5.745  -3.368  -2.502  1.00  0.00           C
ATOM     20 HH31 NME A   3       6.743  -3.060  -2.818  1.00  0.00           H
ATOM     21 HH32 NME A   3       5.111  -3.470  -3.384  1.00  0.00           H
ATOM     22 HH33 NME A   3       5.816  -4.337  -2.005  1.00  0.00           H
END
"""
ATOMS = 22


@pytest.fixture(scope="session")
def pdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("molecule") / "ace-ala-nme.pdb"
    path.write_text(PDB)
    return path


@pytest.fixture(scope="session")
def molecule(pdb: Path) -> Any:
    return mdtraj.load_pdb(str(pdb))


@pytest.fixture(scope="session")
def rigid_motion() -> Callable[[Tensor], Tensor]:
    """A proper rotation by a large angle, and a shift."""
    generator = torch.Generator().manual_seed(4)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * torch.det(q)
    shift = torch.tensor([0.4, -1.1, 2.3], dtype=torch.float64)
    return lambda x: x @ q.T.to(x.dtype) + shift.to(x.dtype)


@pytest.fixture(scope="session")
def conformations(molecule: Any) -> Tensor:
    """Eight strongly disturbed and turned conformations, ``(8, atoms, 3)`` in nm, float64."""
    rng = np.random.default_rng(7)
    x = molecule.xyz[0].astype(np.float64) + rng.normal(scale=0.03, size=(8, ATOMS, 3))
    turns = np.linalg.qr(rng.normal(size=(8, 3, 3)))[0]
    turns *= np.linalg.det(turns)[:, None, None]
    return torch.from_numpy(np.einsum("nij,naj->nai", turns, x) + rng.normal(size=(8, 1, 3)))


@pytest.fixture(scope="session")
def frames(conformations: Tensor, molecule: Any) -> Any:
    """The same conformations, as mdtraj sees them (float32)."""
    return mdtraj.Trajectory(conformations.numpy().astype(np.float32), molecule.topology)


# Not peptides: bonds between atoms named by element and number.
GRAPHS: dict[str, tuple[str, list[tuple[int, int]]]] = {
    "water": ("HOH", [(0, 1), (1, 2)]),
    "methane": ("CHHHH", [(0, 1), (0, 2), (0, 3), (0, 4)]),
    "ethane": ("CHHHCHHH", [(0, 1), (0, 2), (0, 3), (0, 4), (4, 5), (4, 6), (4, 7)]),
    "butane": ("CCCC", [(0, 1), (1, 2), (2, 3)]),
    "cyclopropane": ("CCC", [(0, 1), (1, 2), (0, 2)]),
    "bicycle": ("CCCCCCO", [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0), (0, 3), (6, 5)]),
}
PEPTIDES = ["ACE-ALA-NME", "ACE-PRO-NME", "ACE-LYS-ILE-GLY-THR-MET-NME"]
MOLECULES = [*PEPTIDES, *GRAPHS]


def graph(name: str) -> mdtraj.Topology:
    symbols, bonds = GRAPHS[name]
    top = mdtraj.Topology()
    residue = top.add_residue("MOL", top.add_chain())
    atoms = [top.add_atom(f"{s}{i + 1}", mdtraj.element.get_by_symbol(s), residue) for i, s in enumerate(symbols)]
    for a, b in bonds:
        top.add_bond(atoms[a], atoms[b])
    return top


@pytest.fixture(scope="session")
def make() -> Callable[[str], tuple[mdtraj.Topology, Tensor]]:
    """Topology and eight conformations, thermally disturbed ones for peptides and random ones for others."""
    found: dict[str, tuple[mdtraj.Topology, Tensor]] = {}

    def of(name: str) -> tuple[mdtraj.Topology, Tensor]:
        if name not in found:
            generator = torch.Generator().manual_seed(1)
            if name in GRAPHS:
                top, centre, width = graph(name), 0.0, 0.2
            else:
                topology, positions = bcg.systems.peptide(name)
                top, width = mdtraj.Topology.from_openmm(topology), 0.01
                centre = torch.tensor(np.array(positions.value_in_unit(positions.unit)), dtype=torch.float64)
            noise = torch.randn(8, top.n_atoms, 3, generator=generator, dtype=torch.float64)
            found[name] = (top, centre + width * noise)
        return found[name]

    return of


@pytest.fixture(params=MOLECULES)
def case(request: pytest.FixtureRequest, make: Any) -> tuple[mdtraj.Topology, Tensor, InternalCoordinates]:
    top, x = make(request.param)
    return top, x, bcg.features.internal_coordinates(top)


@pytest.fixture(scope="session")
def apart() -> Callable[[InternalCoordinates, Tensor, Tensor], Tensor]:
    """Differences of internal coordinates, those of torsions modulo their period."""

    def between(features: InternalCoordinates, y: Tensor, other: Tensor) -> Tensor:
        difference = y - other
        periodic = torch.tensor([kind == "torsion" for kind in features.kinds])
        return torch.where(periodic, torch.remainder(difference + math.pi, 2 * math.pi) - math.pi, difference)

    return between


@pytest.fixture(scope="session")
def superposed() -> Callable[[Tensor, Tensor], Tensor]:
    """Conformations turned by a proper rotation and shifted onto others."""

    def onto(x: Tensor, target: Tensor) -> Tensor:
        x, centre = x - x.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
        u, _, vh = torch.linalg.svd(x.mT @ (target - centre))
        flip = torch.ones(*x.shape[:-2], 3, dtype=x.dtype)
        flip[..., 2] = torch.linalg.det(u @ vh)
        return x @ (u * flip.unsqueeze(-2)) @ vh + centre

    return onto
