"""Torsions of a molecule of several residues go by the names that are printed, wherever one may be named."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.models import GeneratorEigenfunctions, PredictiveCV

RESIDUES = ("ALA-2", "ALA-3")


@pytest.fixture(scope="module")
def frames():
    topology, positions = bcg.systems.peptide("ACE-ALA-ALA-NME")
    x = np.asarray(positions._value) + np.random.default_rng(0).normal(scale=0.03, size=(400, 32, 3))
    return bcg.data.Frames.from_numpy(x, unit="nm", dt=1.0, temperature=300.0, topology=topology)


@pytest.fixture(scope="module")
def fit(frames):
    model = PredictiveCV(bcg.features.aligned(frames), latent_dim=1, hidden=(4,))
    return bcg.fit(model, frames, steps=3, uncertainty="none", compile="off")


def test_a_kind_of_torsion_stands_for_all_of_it(fit, frames):
    regions = {"a": {"psi ALA-3": [-180.0, 140.0]}, "b": {"psi ALA-3": [140.0, -180.0]}}
    settings = {"torsions": ["phi", "psi"], "regions": regions, "differences": [["a", "b"]], "draws": 20}
    finding = bcg.questions.ask(fit, frames, test=frames, train=frames, observables=["psi"], samples=200, **settings)
    assert [w for w in finding.warnings if "could not be computed" in w] == []
    names = [f"{kind} {residue}" for kind in ("phi", "psi") for residue in RESIDUES]
    assert {f"free_energy_{name}" for name in names} <= set(finding.figures)
    planes = {f"{figure} {residue}" for figure in ("free_energy_torsions", "ramachandran") for residue in RESIDUES}
    assert planes <= set(finding.figures)
    for name in planes | {"predictive_check"}:
        assert finding.figures[name].draw().axes
    label = finding.figures["ramachandran ALA-3"].draw().axes[0].get_xlabel()
    assert label == "φ ALA-3 (°)"
    (angle,) = bcg.features.observables.from_names(["psi ALA-3"], frames)
    psi = angle(torch.as_tensor(frames.gather(slice(None)))).numpy()
    share = np.mean(np.rad2deg(psi) < 140.0)
    assert finding.quantities["population_a"].mean == pytest.approx(share, abs=0.02)
    assert {"psi ALA-2", "psi ALA-3"} <= set(finding.quantities)


def test_eigenfunctions_are_drawn_over_the_plane_of_each_residue(frames):
    model = GeneratorEigenfunctions(modes=1, features=bcg.features.torsions(frames), hidden=(4,))
    fit = bcg.fit(model, frames, steps=3, compile="off")
    finding = bcg.questions.ask(fit, frames, "slow_modes", torsions=["phi", "psi"], draws=20)
    for residue in RESIDUES:
        assert finding.figures[f"eigenfunctions {residue}"].draw().axes[0].get_ylabel() == f"ψ {residue} (°)"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regions": {"a": {"psi": [0.0, 90.0]}}}, "each of psi ALA-2, psi ALA-3; name one"),
        ({"torsions": ["psi GLY-3"]}, "use one of psi ALA-2, psi ALA-3"),
        ({"torsions": ["chi1"]}, "no chi1 torsion"),
        ({"observables": ["rgg"]}, 'did you mean "rg"'),
        ({"torsions": ["phi ALA-2"] * 25}, "at most 24"),
    ],
)
def test_names_of_nothing_are_refused_before_anything_is_computed(fit, frames, settings, message):
    with pytest.raises(ConfigError, match=message):
        bcg.questions.ask(fit, frames, **settings)


def test_functions_take_the_same_names(fit, frames):
    landscape = bcg.analysis.free_energy(fit, frames, cv=("phi ALA-3", "psi ALA-3"), bins=10, draws=20)
    assert landscape.names == ("phi ALA-3", "psi ALA-3")
    assert bcg.plot.cv(fit, frames, color="psi ALA-3").axes[0].get_ylabel() == "ψ ALA-3 (°)"
    check = bcg.analysis.predictive_check(fit, frames, ["psi"], samples=100)
    assert list(check.observables) == ["psi ALA-2", "psi ALA-3"]
