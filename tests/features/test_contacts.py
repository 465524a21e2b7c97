"""Contacts: against their formula in mdtraj's distances, their limits, and what a native one is."""

from typing import Any

import mdtraj
import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError, TopologyError


@pytest.fixture(scope="module")
def peptide() -> mdtraj.Trajectory:
    topology, positions = bcg.systems.peptide("ACE-" + "ALA-" * 8 + "NME")
    x = np.array(positions.value_in_unit(positions.unit))
    rng = np.random.default_rng(0)
    moved = x * np.linspace(1.0, 0.6, 12)[:, None, None] + rng.normal(scale=0.02, size=(12, *x.shape))
    return mdtraj.Trajectory(moved.astype(np.float32), mdtraj.Topology.from_openmm(topology))


def best_hummer_q(frames: Any, native: Any, cutoff: float) -> np.ndarray:
    """Equation (1) of Best, Hummer and Eaton (2013), as in mdtraj's documentation."""
    heavy = native.topology.select("not element H")
    pairs = np.array([
        (i, j)
        for k, i in enumerate(heavy)
        for j in heavy[k + 1 :]
        if abs(native.topology.atom(i).residue.index - native.topology.atom(j).residue.index) > 3
    ])  # fmt: skip
    close = pairs[mdtraj.compute_distances(native[0], pairs)[0] < cutoff]
    assert 5 < len(close) < len(pairs)
    r, r0 = mdtraj.compute_distances(frames, close), mdtraj.compute_distances(native[0], close)
    return np.mean(1.0 / (1 + np.exp(50 * (r - 1.8 * r0))), axis=1)


def test_native_contacts_are_those_of_best_hummer_and_eaton(peptide):
    native = peptide[-1]
    for cutoff in (0.8, 1.0):
        features = bcg.features.native_contacts(native, cutoff=cutoff)
        q = features(torch.from_numpy(peptide.xyz))
        assert q.shape == (12, 1)
        np.testing.assert_allclose(q[:, 0], best_hummer_q(peptide, native, cutoff), atol=1e-5)
    assert float(q[-1]) > 0.99
    assert float(q[0]) < float(q[-1])
    again = bcg.features.native_contacts(peptide.topology, native.xyz[0], cutoff=1.0)
    torch.testing.assert_close(again(torch.from_numpy(peptide.xyz)), q)


def test_contacts_are_smooth_steps(peptide):
    features = bcg.features.contacts(peptide.topology, pairs=[(0, 1), (0, 2)], cutoff=0.5, steepness=20.0)
    x = torch.zeros(201, peptide.n_atoms, 3, dtype=torch.float64)
    r = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    x[:, 1, 0], x[:, 2, 1] = r, r.flip(0)
    y = features(x.requires_grad_())
    torch.testing.assert_close(y[:, 0], 1 / (1 + torch.exp(20 * (r - 0.5))))
    torch.testing.assert_close(y[:, 1], y[:, 0].flip(0))
    assert y[100, 0].item() == 0.5
    (slope,) = torch.autograd.grad(y[1:, 0].sum(), x)
    assert slope.isfinite().all()
    torch.testing.assert_close(slope[1:, 1, 0], (-20 * y * (1 - y))[1:, 0])


def test_pairs_of_two_selections(peptide):
    features = bcg.features.contacts(peptide.topology, select=("residue 2 and name CA", "residue 3 to 4 and name CA"))
    expected = bcg.features.distances(peptide.topology, select="name CA").labels[:2]
    assert features.names == [f"contact({label})" for label in expected]
    same = bcg.features.distances(peptide.topology, select=("name CA", "name CA"))
    assert same.names == bcg.features.distances(peptide.topology, select="name CA").names


def test_torsions_of_chosen_residues(peptide):
    features = bcg.features.torsions(peptide.topology, "phi", select="residue 3 to 4")
    assert features.names == ["phi ALA-3 sin", "phi ALA-3 cos", "phi ALA-4 sin", "phi ALA-4 cos"]
    both = bcg.features.torsions(peptide.topology, ["psi ALA-2", (0, 1, 4, 5)], select="resid 1")
    assert both.labels == ["psi ALA-2", "torsion HH31 1, CH3 2, C 5, O 6"]
    with pytest.raises(ConfigError, match="no phi of residues in 'residue 1'"):
        bcg.features.torsions(peptide.topology, "phi", select="residue 1")


def test_what_has_no_native_contacts_is_refused(peptide):
    with pytest.raises(TopologyError, match=r"within 0.3 nm in the reference"):
        bcg.features.native_contacts(peptide, cutoff=0.3)
    with pytest.raises(ConfigError, match="no coordinates: give reference="):
        bcg.features.native_contacts(peptide.topology)
    wrong: list[dict[str, Any]] = [{"cutoff": -1.0}, {"steepness": 0.0}]
    for options in wrong:
        with pytest.raises(ConfigError, match="positive"):
            bcg.features.contacts(peptide.topology, pairs=[(0, 1)], **options)
