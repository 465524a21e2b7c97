"""Forward models against mdtraj, a stored ensemble and arithmetic by hand."""

from typing import Any

import mdtraj
import numpy as np
import pytest
import torch

from bayescg.errors import ConfigError, TopologyError
from bayescg.features import KARPLUS, features_from_config, karplus, noe, pre
from bayescg.questions.references.sampled import load_reference
from bayescg.systems import peptide

TOPOLOGY, START = peptide("ACE-ALA-GLY-PRO-NME")
POSITIONS = torch.as_tensor(np.array(START._value)) + 0.01 * torch.randn(
    20, TOPOLOGY.getNumAtoms(), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
)


@pytest.mark.parametrize(
    ("kind", "parameters", "theirs"),
    [
        ("HN,HA", "bax2007", lambda t: mdtraj.compute_J3_HN_HA(t, model="Bax2007")),
        ("HN,HA", "bax1997", lambda t: mdtraj.compute_J3_HN_HA(t, model="Bax1997")),
        ("HN,HA", "rueterjans1999", lambda t: mdtraj.compute_J3_HN_HA(t, model="Ruterjans1999")),
        ("HN,C", "bax2007", lambda t: mdtraj.compute_J3_HN_C(t, model="Bax2007")),
        ("HN,CB", "bax2007", lambda t: mdtraj.compute_J3_HN_CB(t, model="Bax2007")),
    ],
)
def test_couplings_are_those_of_mdtraj(kind, parameters, theirs):
    ours = karplus(TOPOLOGY, kind, parameters)
    trajectory = mdtraj.Trajectory(POSITIONS.numpy(), mdtraj.Topology.from_openmm(TOPOLOGY))
    expected = theirs(trajectory)[1][:, [int(name[-1]) - 2 for name in ours.names]]  # theirs are of all residues
    np.testing.assert_allclose(ours(POSITIONS), expected, atol=2e-5)


def test_residues_without_the_atoms_have_no_coupling():
    assert karplus(TOPOLOGY).names == ["3J(HN,HA) ALA-2"]
    assert karplus(TOPOLOGY, "HN,C").names == ["3J(HN,C) ALA-2", "3J(HN,C) GLY-3"]
    with pytest.raises(TopologyError, match="no residue of this molecule has a coupling HN,CB"):
        karplus(peptide("ACE-GLY-NME")[0], "HN,CB")


def test_averages_over_the_stored_ensemble_of_alanine_dipeptide():
    """Two programs, one histogram of phi: to .001 Hz."""
    reference = load_reference("alanine-dipeptide-obc1-300K")
    counts, edges = reference.planes["ALA-2"].counts, reference.edges
    share, phi = counts.sum(1) / counts.sum(), 0.5 * (edges[1:] + edges[:-1])
    averages = {}
    for kind, sets in KARPLUS.items():
        for author, (a, b, c, phase, _) in sets.items():
            turned = np.cos(phi + np.deg2rad(phase))
            averages[kind, author] = float(share @ (a * turned**2 + b * turned + c))
    assert averages["HN,HA", "bax2007"] == pytest.approx(7.104, abs=1e-3)
    assert averages["HN,HA", "bax1997"] == pytest.approx(7.485, abs=1e-3)
    assert averages["HN,HA", "rueterjans1999"] == pytest.approx(6.839, abs=1e-3)
    assert averages["HN,C", "bax2007"] == pytest.approx(1.429, abs=1e-3)
    assert averages["HN,CB", "bax2007"] == pytest.approx(1.331, abs=1e-3)


@pytest.mark.parametrize("model", [karplus(TOPOLOGY), noe(TOPOLOGY, [(7, 9)]), pre(TOPOLOGY, [(7, 20)], 4000.0)])
def test_gradients_and_files(model):
    x = POSITIONS[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(x) / model(POSITIONS[:1]).detach(), x, atol=1e-5)
    again: Any = features_from_config(model.config())
    assert again.names == model.names
    assert torch.equal(again(POSITIONS), model(POSITIONS))
    assert (again.unit, again.error) == (model.unit, model.error)
    assert torch.equal(again.measured(model(POSITIONS)), model.measured(model(POSITIONS)))


def test_near_frames_make_an_noe():
    """Half the time at 2 and half at 4 angstrom: (1/2 (2^-6 + 4^-6))^(-1/6) = 2.2391."""
    x = torch.zeros(2, TOPOLOGY.getNumAtoms(), 3)
    x[:, 9, 0] = torch.tensor([0.2, 0.4])
    model = noe(TOPOLOGY, [(7, 9)])
    assert float(model.measured(model(x).mean(0))) == pytest.approx(0.22391, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("HN-HA",), r"no couplings are called 'HN-HA'; there are 'HN,HA', 'HN,C', 'HN,CB'"),
        (("HN,HA", "bax"), r"no parameters of HN,HA are called 'bax'; there are 'bax2007'"),
        (("HN,HA", (8.4, -1.4, 0.3)), "five numbers are A, B, C, the phase and the standard deviation"),
        (("HN,HA", (8.4, -1.4, 0.3, -60.0, 0.0)), "standard deviation"),
    ],
)
def test_what_there_is_not_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        karplus(TOPOLOGY, *arguments)
