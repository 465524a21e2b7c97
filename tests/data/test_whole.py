"""Molecules broken across a periodic box are made whole, by every door, in every shape of box."""

from typing import Any

import mdtraj
import numpy as np
import pytest

from bayescg.data import Frames, from_mdanalysis, load
from bayescg.data.readers.imaging import Imaging
from bayescg.errors import DataError, TopologyError

BOXES = {
    "cube": 1.6 * np.eye(3),
    "brick": np.diag([1.5, 1.9, 1.7]),
    "dodecahedron": np.array([[1.9, 0.0, 0.0], [0.0, 1.9, 0.0], [0.95, 0.95, 1.3435]]),
}


def chains(topology: mdtraj.Topology, shuffled: bool = False) -> mdtraj.Topology:
    """Two of the molecules, perhaps with the atoms of a residue in another order."""
    pair = mdtraj.Topology()
    order = {name: k for k, name in enumerate(("O", "CA", "N", "C") if shuffled else ("N", "CA", "C", "O"))}
    for _ in range(2):
        chain = pair.add_chain()
        for residue in topology.residues:
            copied = pair.add_residue(residue.name, chain, residue.resSeq)
            for atom in sorted(residue.atoms, key=lambda a: order[a.name]):
                pair.add_atom(atom.name, atom.element, copied)
    pair.create_standard_bonds()
    assert pair.n_bonds == 14
    return pair


@pytest.fixture(params=BOXES)
def box(request) -> np.ndarray:
    return BOXES[request.param]


@pytest.fixture(params=[False, True], ids=["in order", "shuffled"])
def complex_(request, topology, positions) -> tuple[mdtraj.Topology, np.ndarray]:
    """Two molecules 0.5 nm apart, as they are: (25, 16, 3)."""
    pair = chains(topology, request.param)
    x = np.concatenate([positions, positions + np.array([0.0, 0.0, 0.5], dtype=np.float32)], axis=1)
    names = [(atom.residue.chain.index, atom.residue.index % 2, atom.name) for atom in pair.atoms]
    plain = [(c, r, name) for c in (0, 1) for r in (0, 1) for name in ("N", "CA", "C", "O")]
    return pair, x[:, [plain.index(name) for name in names]]


def scattered(x: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Every atom moved into the cell by itself, as a simulation may save it."""
    return ((x @ np.linalg.inv(box)) % 1.0 @ box).astype(np.float32)


def apart(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, :, None] - x[:, None], axis=-1)


def written(path, topology, x, box) -> str:
    trajectory = mdtraj.Trajectory(x, topology, time=0.5 * np.arange(len(x)))
    trajectory.unitcell_vectors = np.broadcast_to(box, (len(x), 3, 3)).astype(np.float32)
    trajectory.save(str(path))
    return str(path)


def doors(tmp_path, topology, x, box) -> dict[str, Any]:
    import MDAnalysis

    path, top = written(tmp_path / "a.trr", topology, x, box), written(tmp_path / "top.pdb", topology, x[:1], box)
    universe = MDAnalysis.Universe(top, path)
    universe.add_TopologyAttr("bonds", [(a.index, b.index) for a, b in topology.bonds])
    return {
        "load": lambda **options: load(path, topology, **options),
        "of mdtraj": lambda **options: load(mdtraj.load(path, top=topology), **options),
        "mdanalysis": lambda **options: from_mdanalysis(universe, **options),
        "array": lambda **options: Frames.from_numpy(x, unit="nm", box=box, topology=topology, **options),
    }


def test_every_door_restores_what_was_scattered(tmp_path, complex_, box):
    topology, x = complex_
    broken = scattered(x, box)
    assert np.abs(apart(broken) - apart(x)).max() > 1.0
    for name, door in doors(tmp_path, topology, broken, box).items():
        with pytest.raises(DataError, match="whole=True"):
            door()
        np.testing.assert_allclose(apart(door(whole=True).positions), apart(x), atol=2e-5, err_msg=name)
        if name != "array":
            atoms = topology.select("name CA")
            some = door(whole=True, select="name CA")
            np.testing.assert_allclose(apart(some.positions), apart(x[:, atoms]), atol=2e-5, err_msg=name)
            assert some.topology.n_bonds == 0
            with pytest.raises(DataError, match="whole=True"):
                door(select="name CA")


def test_solvent_may_be_broken_where_it_is_not_selected(tmp_path, topology, positions):
    box, pair = BOXES["cube"], chains(topology)
    x = np.concatenate([positions, scattered(positions, box)], axis=1)
    path = written(tmp_path / "a.trr", pair, x, box)
    with pytest.raises(DataError, match="broken"):
        load(path, pair)
    np.testing.assert_array_equal(load(path, pair, select="chainid 0 and name CA").positions, x[:, [1, 5]])


def test_a_crystal_has_no_whole_molecule(topology):
    ring = mdtraj.Topology()
    residue = ring.add_residue("C4", ring.add_chain())
    atoms = [ring.add_atom(f"C{k}", mdtraj.element.carbon, residue) for k in range(4)]
    for k in range(4):
        ring.add_bond(atoms[k], atoms[(k + 1) % 4])
    x = 0.15 * np.arange(4.0)[None, :, None] * np.array([1.0, 0.0, 0.0])
    with pytest.raises(DataError, match=r"whole=True could not help.*crystal"):
        Frames.from_numpy(x, unit="nm", box=0.6 * np.eye(3), topology=ring, whole=True)


def test_bonds_lead_from_one_atom_of_each_molecule_to_all_others(complex_):
    imaging = Imaging(complex_[0])
    reached = {0, min(a.index for a in imaging.anchors[1])}
    for parent, child in imaging.bonds.tolist():
        assert parent in reached
        assert child not in reached
        reached.add(child)
    assert reached == set(range(16))


def test_what_a_residue_holds_stays_together_without_bonds(topology, positions):
    """As the virtual sites of water; residues without any bond are refused."""
    loose = chains(topology)
    loose._bonds = [bond for bond in loose.bonds if "O" not in (bond[0].name, bond[1].name)]
    assert loose.n_bonds == 10
    x = np.concatenate([positions, positions + np.array([0.0, 0.0, 0.5], dtype=np.float32)], axis=1)
    box = BOXES["dodecahedron"]
    frames = Frames.from_numpy(scattered(x, box), unit="nm", box=box, topology=loose, whole=True)
    np.testing.assert_allclose(apart(frames.positions), apart(x), atol=2e-5)
    loose._bonds = [bond for bond in loose.bonds if bond[1].residue.index != 3]
    with pytest.raises(TopologyError, match="residue GLY2 has none"):
        Frames.from_numpy(scattered(x, box), unit="nm", box=box, topology=loose, whole=True)
