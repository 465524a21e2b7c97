"""Peptides built from nothing: geometry, chirality, names, force-field templates."""

import random

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app

from bayescg.errors import ConfigError
from bayescg.systems import peptide
from bayescg.systems.peptides import ramachandran, set_ramachandran
from bayescg.systems.side_chains import SIDE_CHAINS

EVERYTHING = "ACE-" + "-".join(SIDE_CHAINS) + "-NME"

# Equilibrium values of the AMBER force fields, in nm.
LENGTHS = {"CC": (0.134, 0.156), "CN": (0.129, 0.152), "CO": (0.120, 0.146), "CS": (0.175, 0.186)}


@pytest.fixture(scope="module")
def everything():
    topology, positions = peptide(EVERYTHING)
    return topology, np.array(positions.value_in_unit_system(openmm.unit.md_unit_system))


def signed_volume(xyz, atoms, centre, a, b, c):
    """(a x b) . c around the centre: its sign is the handedness."""
    return float(np.linalg.det(xyz[[atoms[a], atoms[b], atoms[c]]] - xyz[atoms[centre]]))


def test_all_twenty_amino_acids_are_there():
    assert len(SIDE_CHAINS) == 20


def test_alanine_dipeptide_is_that_of_the_literature():
    topology, _ = peptide("ACE-ALA-NME")
    names = [(atom.residue.name, atom.name) for atom in topology.atoms()]
    assert len(names) == 22
    assert [name for _, name in names[:6]] == ["HH31", "CH3", "HH32", "HH33", "C", "O"]
    assert [names[i] for i in (4, 6, 8, 14, 16)] == [
        ("ACE", "C"),
        ("ALA", "N"),
        ("ALA", "CA"),
        ("ALA", "C"),
        ("NME", "N"),
    ]


def test_bond_lengths_and_angles_are_those_of_molecules(everything):
    topology, xyz = everything
    neighbours = {atom: [] for atom in topology.atoms()}
    for a, b in topology.bonds():
        neighbours[a].append(b)
        neighbours[b].append(a)
        length = np.linalg.norm(xyz[a.index] - xyz[b.index])
        pair = "".join(sorted(a.element.symbol + b.element.symbol))
        low, high = LENGTHS.get(pair, (0.095, 0.112) if pair != "HS" else (0.130, 0.137))
        assert low < length < high, (a, b, length)
    for atom, others in neighbours.items():
        arms = [xyz[other.index] - xyz[atom.index] for other in others]
        for i, u in enumerate(arms):
            for v in arms[:i]:
                angle = np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))
                assert 95 < angle < 137, (atom, angle)


def test_every_residue_is_an_l_amino_acid_with_the_right_second_centre(everything):
    topology, xyz = everything
    for residue in topology.residues():
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        if "CB" in atoms:
            assert signed_volume(xyz, atoms, "CA", "N", "C", "CB") > 0, residue
        if residue.name == "ILE":  # CB is S: priorities CA, CG1, CG2
            assert signed_volume(xyz, atoms, "CB", "CA", "CG1", "CG2") > 0
        if residue.name == "THR":  # CB is R: priorities OG1, CA, CG2
            assert signed_volume(xyz, atoms, "CB", "OG1", "CA", "CG2") < 0


def test_no_atoms_clash(everything):
    _, xyz = everything
    distances = np.linalg.norm(xyz[:, None] - xyz[None], axis=-1)
    assert distances[np.triu_indices(len(xyz), 1)].min() > 0.09


@pytest.mark.parametrize(
    "files",
    [("amber96.xml",), ("amber99sbildn.xml",), ("amber14-all.xml",), ("amber14/protein.ff15ipq.xml",)],
)
def test_force_fields_match_the_topology_as_it_is(everything, files):
    topology, xyz = everything
    system = app.ForceField(*files).createSystem(topology)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(xyz)
    energy = context.getState(energy=True).getPotentialEnergy()._value
    assert np.isfinite(energy)
    assert energy < 50.0 * len(SIDE_CHAINS)  # kJ/mol: a clash would cost thousands


def test_mdtraj_reads_the_pdb_and_finds_the_backbone_torsions(everything, tmp_path):
    topology, xyz = everything
    app.PDBFile.writeFile(topology, 10 * xyz, str(tmp_path / "all.pdb"))
    trajectory = mdtraj.load(str(tmp_path / "all.pdb"))
    assert trajectory.n_atoms == topology.getNumAtoms()
    indices, phi = mdtraj.compute_phi(trajectory)
    assert [tuple(row) for row in indices] == [row[1] for row in ramachandran(topology)]
    psi = np.degrees(mdtraj.compute_psi(trajectory)[1])[0][-len(SIDE_CHAINS) :]
    phi = np.degrees(phi)[0]
    assert (np.cos(np.radians(phi + 140)) > 0.2).all()  # still extended; proline is near -70
    assert (np.cos(np.radians(psi - 140)) > 0.2).all()
    omega = np.degrees(mdtraj.compute_omega(trajectory)[1])
    assert (np.abs(omega) > 160).all()  # trans peptide bonds


@pytest.mark.parametrize(("phi", "psi"), [(-75.0, -40.0), (60.0, 45.0), (180.0, 179.0)])
def test_setting_torsions_is_exact_and_rigid(phi, psi):
    topology, positions = peptide("ACE-ALA-PRO-GLY-NME")
    before = np.array(positions._value)
    after = set_ramachandran(topology, before, phi, psi)
    trajectory = mdtraj.Trajectory(np.stack([before, after]), mdtraj.Topology.from_openmm(topology))
    angles = np.degrees(mdtraj.compute_phi(trajectory)[1])
    np.testing.assert_allclose(np.cos(np.radians(angles[1, [0, 2]] - phi)), 1.0, atol=1e-5)
    assert angles[1, 1] == pytest.approx(angles[0, 1], abs=1e-2)  # the ring holds proline's phi
    # mdtraj finds psi in ACE too, whose methyl it takes for a CA; ours are the last three
    angles = np.degrees(mdtraj.compute_psi(trajectory)[1])[1, -3:]
    np.testing.assert_allclose(np.cos(np.radians(angles - psi)), 1.0, atol=1e-5)
    for a, b in topology.bonds():
        lengths = [np.linalg.norm(x[a.index] - x[b.index]) for x in (before, after)]
        assert lengths[0] == pytest.approx(lengths[1], abs=1e-9)


def test_the_same_sequence_gives_the_same_numbers_and_leaves_the_generator_alone():
    random.seed(7)
    expected = random.random()
    random.seed(7)
    first = peptide("ACE-SER-NME")[1]._value
    assert random.random() == expected
    assert first == peptide(" ace-ser-nme ")[1]._value


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("ACE-ALX-NME", "unknown residue 'ALX'.*GLY, ALA"),
        ("", "unknown residue ''"),
        ("ACE-ALA-", "unknown residue ''"),
        ("A-A-A", "unknown residue 'A'"),
        ("ALA-GLY", "must be capped"),
        ("ACE-ALA", "must be capped"),
        ("NME-ALA-ACE", "must be capped"),
        ("ACE-NME", "must hold amino acids"),
        ("ACE-ALA-NME-NME", "must hold amino acids"),
    ],
)
def test_bad_sequences_are_refused(sequence, message):
    with pytest.raises(ConfigError, match=message):
        peptide(sequence)
