"""Beads: what they are called, where they lie, what they weigh, who their neighbours are, and what is refused."""

from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import pytest
import torch
from torch import Tensor

import bayescg as bcg
from bayescg.errors import ConfigError, DataError, TopologyError
from bayescg.features import Beads, beads, features_from_config

FIVE = ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"]


def test_beads_at_atoms_are_these_atoms(pdb: Path, conformations: Tensor):
    mapping = beads(pdb, FIVE)
    assert torch.equal(mapping.bead_positions(conformations), conformations[:, [4, 6, 8, 14, 16]])
    torch.testing.assert_close(mapping(conformations), mapping.bead_positions(conformations).flatten(-2))
    assert mapping.names[:4] == ["x(C 5)", "y(C 5)", "z(C 5)", "x(N 7)"]
    assert mapping.masses is not None
    np.testing.assert_allclose(mapping.masses, [12.011, 14.007, 12.011, 12.011, 14.007], atol=2e-3)


def test_torsions_of_the_beads_are_those_of_the_molecule(pdb: Path, conformations: Tensor):
    mapping = beads(pdb, FIVE)
    torsions = bcg.features.torsions(mapping.topology)
    assert torsions.names == bcg.features.torsions(pdb).names
    torch.testing.assert_close(
        torsions(mapping.bead_positions(conformations)), bcg.features.torsions(pdb)(conformations)
    )


@pytest.mark.parametrize("names", ["CA", ["CA ALA"], ["CA ALA2"], ["name CA"], [[8]], [8]])
def test_one_bead_in_six_ways(pdb: Path, conformations: Tensor, names: Any):
    assert torch.equal(beads(pdb, names).bead_positions(conformations), conformations[:, [8]])


def test_centres_of_residues_are_mdtrajs(pdb: Path, molecule: Any):
    residues = beads(pdb, "residues")
    parts = [molecule.atom_slice(molecule.topology.select(f"resid {k}")) for k in range(3)]
    mass = np.stack([mdtraj.compute_center_of_mass(part)[0] for part in parts])
    np.testing.assert_allclose(residues.bead_positions(torch.tensor(molecule.xyz[0])), mass, atol=1e-6)
    geometric = beads(pdb, "residues", centre="geometry").bead_positions(torch.tensor(molecule.xyz[0]))
    np.testing.assert_allclose(geometric, [part.xyz[0].mean(0) for part in parts], atol=1e-6)
    assert residues.masses is not None
    total = sum(atom.element.mass for atom in molecule.topology.atoms)
    assert float(residues.masses.sum()) == pytest.approx(total)  # of groups that share no atom and leave none out
    assert residues.topology is not None
    assert [atom.element.symbol for atom in residues.topology.atoms] == ["VS"] * 3


def test_a_matrix_of_coefficients(pdb: Path, conformations: Tensor):
    matrix = np.zeros((2, 22))
    matrix[0, [4, 6]], matrix[1, 8] = (1.5, -0.5), 1.0
    for given in (matrix, torch.tensor(matrix), matrix.tolist()):
        mapping = beads(pdb, given)
        assert torch.equal(mapping.matrix, torch.tensor(matrix))
        torch.testing.assert_close(
            mapping.bead_positions(conformations)[:, 0], 1.5 * conformations[:, 4] - 0.5 * conformations[:, 6]
        )


def test_neighbours_along_a_chain_that_beads_leave_gaps_in():
    top = bcg.systems.peptide("ACE-ALA-CYS-ALA-GLY-NME")[0]
    assert beads(top, "CA").bonds == [[0, 1], [1, 2], [2, 3]]
    assert beads(top, ["CA ALA2", "CA CYS3", "SG CYS3", "CA ALA4"]).bonds == [[0, 1], [1, 2], [1, 3]]


def test_coordinates_of_a_toy_system():
    mapping = beads(3, [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    x = torch.randn(4, 3)
    torch.testing.assert_close(mapping(x), torch.stack([x[:, 0], x[:, 1:].mean(1)], 1))
    assert (mapping.names, mapping.topology, mapping.masses) == (["x1", "bead 2"], None, None)
    assert features_from_config(mapping.config()).config() == mapping.config()
    with pytest.raises(TopologyError, match="of 3 flat coordinates"):
        mapping(torch.zeros(4, 2))


def test_a_model_takes_beads_as_features(pdb: Path, conformations: Tensor):
    from bayescg.models import PredictiveCV

    frames = bcg.data.Frames.from_numpy(conformations.numpy(), unit="nm", topology=pdb, temperature=300.0)
    fit = bcg.fit(PredictiveCV(beads(pdb, FIVE), latent_dim=1, hidden=(4,)), frames, steps=2, progress=False)
    assert fit.cv(frames).mean.shape == (8, 1)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["CA ALA", []], ConfigError, "bead 1 .* has no atoms"),
        ([], ConfigError, "at least one bead"),
        ([[4, 6], "C"], ConfigError, "bead 1: 3 atoms are called 'C'; say which one .C ACE1, C ALA2"),
        ("CG", TopologyError, "no atom is called 'CG'"),
        (["CA GLY"], TopologyError, "bead 0: no atom is called 'CA GLY': did you mean \"CA ALA\""),
        (["CA ALA", "CX"], TopologyError, "bead 1: no atom is called 'CX'"),
        ([[4], [1.5, 2.0]], ConfigError, "must be atoms of bead 1"),
        (["resname GLY and backbone"], TopologyError, "names none of the 22 atoms"),
        (["name CA and"], ConfigError, "not understood by mdtraj"),
        ([[22]], TopologyError, "do not exist among 22"),
        ([[4, 4]], ConfigError, "holds an atom twice"),
        (np.eye(22)[:2] * 0.5, ConfigError, "bead 0 .H1 1.: its coefficients add up to 0.5, not to 1"),
        (np.zeros((1, 22)), ConfigError, "bead 0 .* has no atoms"),
        (np.eye(21), ConfigError, r"an array .beads, 22., not .21, 21."),
        (np.full((1, 22), np.nan), ConfigError, "add up to nan"),
        (3, ConfigError, "give a name, a list"),
    ],
)
def test_what_no_map_is(pdb: Path, names: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        beads(pdb, names)


def test_centre_is_one_of_two(pdb: Path):
    with pytest.raises(ConfigError, match="centre='com'"):
        beads(pdb, "CA", centre="com")


def test_no_mass_without_an_element():
    top = mdtraj.Topology()
    residue = top.add_residue("BB", top.add_chain())
    for name in ("B1", "B2"):
        top.add_atom(name, mdtraj.element.virtual, residue)
    with pytest.raises(TopologyError, match=r'B1 1 has no element.*centre="geometry"'):
        beads(top, [[0, 1]])
    assert beads(top, [[0, 1]], centre="geometry").masses is None


def test_a_bead_of_two_molecules_has_no_place_in_a_box():
    top = mdtraj.Topology()
    for _ in range(2):
        top.add_atom("AR", mdtraj.element.argon, top.add_residue("AR", top.add_chain()))
    frames = bcg.data.Frames.from_numpy(np.zeros((4, 2, 3)), unit="nm", box=3 * np.eye(3))
    beads(top, "AR").check_frames(frames)
    with pytest.raises(DataError, match="bead 1 is made of several molecules"):
        beads(top, [[0, 1]]).check_frames(frames)
    assert isinstance(beads(top, [[0, 1]]), Beads)
