"""A small molecule, its conformations, and rigid motions, for the tests of features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from torch import Tensor

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
