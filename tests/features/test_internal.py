"""Torsions, distances and observables against mdtraj, and what they refuse."""

import math
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from torch import Tensor

import bayescg as bcg
from bayescg.errors import ConfigError, TopologyError
from bayescg.features.observables import NAMES, RadiusOfGyration, Rmsd, from_names
from bayescg.features.torsions import torsion_sin_cos


def test_torsions_match_mdtraj(pdb: Path, frames: Any):
    features = bcg.features.torsions(pdb, ["phi", "psi", (0, 1, 4, 5), (5, 4, 6, 8)])
    angles = mdtraj.compute_dihedrals(frames, features.quadruples.numpy())
    y = features(torch.from_numpy(frames.xyz)).numpy()
    np.testing.assert_allclose(y[:, 0::2], np.sin(angles), atol=1e-5)
    np.testing.assert_allclose(y[:, 1::2], np.cos(angles), atol=1e-5)
    assert features.names[:4] == ["phi ALA-2 sin", "phi ALA-2 cos", "psi ALA-2 sin", "psi ALA-2 cos"]
    assert features.names[4] == "torsion H1 1, CH3 2, C 5, O 6 sin"


@pytest.mark.parametrize("degrees", [-180, -179.99, -120, -90, -1e-3, 0, 30, 90, 150, 179.99])
def test_torsions_are_exact_all_around(degrees: float):
    angle = math.radians(degrees)
    d = [math.cos(angle), 1.0, math.sin(angle)]
    x = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0], d], dtype=torch.float64) * 0.15
    x.requires_grad_()
    # Looking along the axis, from the second atom to the third, a positive angle turns clockwise.
    sine, cosine = torsion_sin_cos(x, torch.tensor([[0, 1, 2, 3]]))
    expected = torch.tensor([math.sin(angle), math.cos(angle)], dtype=torch.float64)
    torch.testing.assert_close(torch.cat([sine, cosine]).detach().abs(), expected.abs(), atol=1e-12, rtol=1e-12)
    reference = mdtraj.compute_dihedrals(
        mdtraj.Trajectory(x.detach().numpy()[None], _carbons(4)), np.array([[0, 1, 2, 3]])
    )[0, 0]
    torch.testing.assert_close(sine.item(), math.sin(reference), atol=1e-5, rtol=0)
    torch.testing.assert_close(cosine.item(), math.cos(reference), atol=1e-5, rtol=0)
    assert torch.autograd.gradcheck(lambda x: torsion_sin_cos(x, torch.tensor([[0, 1, 2, 3]])), (x,))


def test_torsions_of_atoms_on_a_line_are_finite():
    x = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [0.3, 0.1, 0]], requires_grad=True)
    sine, cosine = torsion_sin_cos(x, torch.tensor([[0, 1, 2, 3]]))
    (sine + cosine).sum().backward()
    assert sine.item() == cosine.item() == 0.0
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_torsions_tell_mirror_images_apart(pdb: Path, conformations: Tensor):
    features = bcg.features.torsions(pdb)
    y, image = features(conformations), features(-conformations)
    torch.testing.assert_close(image[:, 0::2], -y[:, 0::2])
    torch.testing.assert_close(image[:, 1::2], y[:, 1::2])
    distances = bcg.features.distances(pdb)
    torch.testing.assert_close(distances(-conformations), distances(conformations))


def test_every_kind_of_torsion_is_found():
    topology, positions = bcg.systems.peptide("ACE-LYS-ARG-NME")
    top = mdtraj.Topology.from_openmm(topology)
    x = torch.tensor(np.asarray(positions.value_in_unit(positions.unit)), dtype=torch.float32)
    traj = mdtraj.Trajectory(x.numpy()[None], top)
    for kind in ("phi", "psi", "omega", "chi1", "chi2", "chi3", "chi4", "chi5"):
        _, angles = getattr(mdtraj, f"compute_{kind}")(traj)
        y = bcg.features.torsions(topology, kind)(x).numpy()
        np.testing.assert_allclose(y[1::2], np.cos(angles[0]), atol=1e-5)
    assert bcg.features.torsions(top, "omega").names[::2] == ["omega LYS-2 sin"]
    phi = from_names(["phi"], topology)
    assert [o.name for o in phi] == ["phi LYS-2", "phi ARG-3"]


def test_a_torsion_of_one_residue_is_found_by_its_label():
    topology, positions = bcg.systems.peptide("ACE-LYS-ARG-NME")
    x = torch.tensor(np.asarray(positions._value), dtype=torch.float64)
    chain = mdtraj.Topology.from_openmm(topology)
    for name in ("psi ARG-3", "chi2 LYS-2"):
        (every, (alone,)) = (from_names([kind], chain) for kind in (name.split()[0], name))
        (same,) = (o for o in every if o.name == name)
        assert alone.name == name
        assert alone(x) == same(x)
        torch.testing.assert_close(bcg.features.torsions(chain, name)(x)[1], torch.cos(alone(x)))
    two = chain.join(chain)  # residues of both chains have the same numbers
    assert [o.name for o in from_names(["phi LYS-2", "phi LYS-2 of chain 2"], two)] == [
        "phi LYS-2", "phi LYS-2 of chain 2",
    ]  # fmt: skip
    assert len({o.name for o in from_names(["phi"], two)}) == 4
    with pytest.raises(TopologyError, match="no torsion 'psi LYS-3'; use one of psi LYS-2, psi ARG-3"):
        from_names(["psi LYS-3"], chain)


def test_distances_match_mdtraj(pdb: Path, frames: Any):
    features = bcg.features.distances(pdb)
    assert features.size == 10 * 9 // 2
    expected = mdtraj.compute_distances(frames, features.pairs.numpy(), periodic=False)
    np.testing.assert_allclose(features(torch.from_numpy(frames.xyz)).numpy(), expected, atol=1e-6)
    assert bcg.features.distances(pdb, pairs=[(8, 16)]).names == ["d(CA 9, N 17)"]
    assert bcg.features.distances(pdb, select="name N or name O").size == 6


@pytest.mark.parametrize(
    ("make", "arguments", "error", "message"),
    [
        ("torsions", {"kind": "fi"}, ConfigError, "use phi, psi, omega"),
        ("torsions", {"kind": ["phi", "chi1"]}, TopologyError, "no chi1 torsion"),
        ("torsions", {"kind": [(0, 1, 2)]}, ConfigError, "4 different atoms"),
        ("torsions", {"kind": [(0, 1, 2, 2)]}, ConfigError, "4 different atoms"),
        ("torsions", {"kind": [(0, 1, 2, 22)]}, TopologyError, "22 atoms, numbered from 0"),
        ("torsions", {"kind": []}, ConfigError, "no torsions"),
        ("distances", {"pairs": []}, ConfigError, "no groups of 2 atoms"),
        ("distances", {"pairs": [(1, 1)]}, ConfigError, "2 different atoms"),
        ("distances", {"pairs": [(-1, 1)]}, TopologyError, "numbered from 0"),
        ("distances", {"pairs": [(0, 1)], "select": "all"}, ConfigError, "not both"),
        ("distances", {"select": "name CA"}, TopologyError, "only one atom"),
    ],
)
def test_what_does_not_exist_is_refused(
    pdb: Path, make: str, arguments: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        getattr(bcg.features, make)(pdb, **arguments)


def test_end_to_end_ends_where_the_protein_does(molecule: Any):
    """GROMACS' files know no chains: water and ions come after the protein, in the same one."""
    top = molecule.topology.copy()
    for name, element in (("HOH", mdtraj.element.oxygen), ("NA+", mdtraj.element.sodium)):
        top.add_atom(element.symbol, element, top.add_residue(name, top.chain(0)))
    (observable,) = from_names(["end_to_end"], top)
    assert observable.pair == (1, 18)


def test_observables_match_mdtraj(pdb: Path, molecule: Any, frames: Any):
    masses = np.array([atom.element.mass for atom in molecule.topology.atoms])
    centred = frames.xyz - mdtraj.compute_center_of_mass(frames)[:, None]
    copy = mdtraj.Trajectory(frames.xyz.copy(), frames.topology)
    expected = {
        "rg": mdtraj.compute_rg(frames),
        "rg_mass": np.sqrt(np.average((centred**2).sum(-1), axis=1, weights=masses)),
        "rmsd": mdtraj.rmsd(copy, molecule[0]),  # it centres both in place
        "end_to_end": mdtraj.compute_distances(frames, [[1, 18]])[:, 0],
        "phi": mdtraj.compute_phi(frames)[1][:, 0],
        "psi": mdtraj.compute_psi(frames)[1][:, 0],
    }
    found = from_names(list(expected), pdb)
    assert [o.name for o in found] == list(expected)
    assert [o.unit for o in found] == ["nm"] * 4 + ["rad"] * 2
    x = torch.from_numpy(frames.xyz)
    for observable in found:
        np.testing.assert_allclose(observable(x).numpy(), expected[observable.name], atol=1e-5)
        torch.testing.assert_close(observable(x.reshape(2, 4, 22, 3)).flatten(), observable(x))
        torch.testing.assert_close(torch.func.vmap(observable)(x), observable(x))


def test_observables_have_right_gradients(pdb: Path, conformations: Tensor):
    for observable in from_names(["rg", "rg_mass", "rmsd", "end_to_end", "phi", "psi"], pdb):
        assert torch.autograd.gradcheck(observable, (conformations[:2].clone().requires_grad_(),), atol=1e-7)


def test_the_reference_has_no_deviation_and_a_finite_gradient(molecule: Any):
    x = torch.from_numpy(molecule.xyz[0]).double().requires_grad_()
    value = Rmsd(molecule.xyz[0])(x)
    value.backward()
    assert value < 1e-6
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_an_unknown_observable_lists_the_known(pdb: Path, molecule: Any):
    with pytest.raises(ConfigError, match="gyration") as caught:
        from_names(["rg", "gyration"], pdb)
    assert all(name in str(caught.value) for name in NAMES)
    with pytest.raises(ConfigError, match="reference="):
        from_names(["rmsd"], molecule.topology)
    with pytest.raises(TopologyError, match=r"\(3, 3\) instead of \(22, 3\)"):
        from_names(["rmsd"], pdb, np.zeros((3, 3)))
    with pytest.raises(TopologyError, match="no omega"):
        from_names(["omega"], pdb)
    with pytest.raises(TopologyError, match="22 atoms"):
        from_names(["rg"], pdb)[0](torch.zeros(21, 3))
    with pytest.raises(ConfigError, match="masses"):
        RadiusOfGyration(3, [1.0, -1.0, 1.0])


def _carbons(n: int) -> mdtraj.Topology:
    top = mdtraj.Topology()
    residue = top.add_residue("CHN", top.add_chain())
    for i in range(n):
        top.add_atom(f"C{i + 1}", mdtraj.element.carbon, residue)
    return top
