"""A small peptide whose every bond is of the right length, and its trajectory."""

from collections.abc import Callable
from typing import Any

import mdtraj
import numpy as np
import pytest
from mdtraj.core.element import carbon, nitrogen, oxygen

DT = 0.5


@pytest.fixture(scope="session")
def topology() -> mdtraj.Topology:
    """Two glycines without hydrogens: N, CA, C, O each, 7 bonds."""
    top = mdtraj.Topology()
    chain = top.add_chain()
    for number in (1, 2):
        residue = top.add_residue("GLY", chain, number)
        for name, element in (("N", nitrogen), ("CA", carbon), ("C", carbon), ("O", oxygen)):
            top.add_atom(name, element, residue)
    top.create_standard_bonds()
    assert top.n_bonds == 7
    return top


def zigzag(n: int, seed: int = 0) -> np.ndarray:
    """Positions in nm, (n, 8, 3), float32: an extended backbone, bent a little and moved about."""
    backbone = [[0.125 * k, 0.04 * (-1) ** k, 0.0] for k in range(6)]
    x = np.array([*backbone[:3], [0.25, 0.04, 0.123], *backbone[3:], [0.625, -0.04, 0.123]])
    rng = np.random.default_rng(seed)
    moved = x + rng.normal(scale=0.005, size=(n, 8, 3)) + rng.uniform(1.0, 2.0, size=(n, 1, 3))
    return moved.astype(np.float32)


@pytest.fixture
def positions() -> np.ndarray:
    return zigzag(25)


@pytest.fixture
def write(tmp_path, topology) -> Callable[..., str]:
    """Writer of trajectory files in any format of mdtraj's; returns the path."""

    def make(name="a.xtc", x: Any = None, dt=DT, start=0.0, box=None, top=None, times: Any = None) -> str:
        x = zigzag(25) if x is None else x
        times = start + dt * np.arange(len(x)) if times is None else times
        trajectory = mdtraj.Trajectory(x, topology if top is None else top, time=times)
        if box is not None:
            trajectory.unitcell_lengths = np.full((len(x), 3), box)
            trajectory.unitcell_angles = np.full((len(x), 3), 90.0)
        trajectory.save(str(tmp_path / name))
        return str(tmp_path / name)

    return make


@pytest.fixture
def top(write) -> str:
    """The topology as a PDB file."""
    return write("top.pdb", zigzag(1))
