"""A simulation of beads beside the frames that its potential was learned from: what agrees, and what does not."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.models import ForceMatchingPotential

pytestmark = pytest.mark.filterwarnings("ignore:forces do not belong:UserWarning")  # they are noise

BASINS = {
    "trans": {"phi": [120.0, 0.0], "psi": [90.0, -90.0]},
    "cis": {"psi": [-90.0, 90.0]},
}
SETTINGS: dict[str, Any] = {"torsions": ["phi", "psi"], "basins": BASINS, "plane_bins": 8, "draws": 100}


def chains(seed: int, fraction: float, count: int = 40, length: int = 50) -> Frames:
    """Five beads at right torsions: independent frames, psi flat in one half of the circle with this probability."""
    rng = np.random.default_rng(seed)
    phi = rng.uniform(-np.pi + 0.2, -0.2, size=count * length)
    cis = rng.uniform(size=count * length) < fraction
    psi = rng.uniform(-np.pi / 2, np.pi / 2, size=count * length) + np.where(cis, 0.0, np.pi)
    x = [np.tile(v, (count * length, 1)) for v in ([0.0, 0.13, 0.05], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0])]
    x[1][:, :] = [0.0, 0.0, 0.0]
    x[2][:, :] = [0.14, 0.0, 0.0]
    for turn, bond in ((phi, 0.15), (psi, 0.13)):
        a, b, c = x[-3], x[-2], x[-1]
        axis = (c - b) / np.linalg.norm(c - b, axis=1, keepdims=True)
        normal = np.cross(b - a, axis)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        side = np.cross(normal, axis)
        step = -np.cos(1.95) * axis + np.sin(1.95) * (np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * normal)
        x.append(c + bond * step)
    beads = np.stack(x, 1) + 0.002 * rng.normal(size=(count * length, 5, 3))
    mapping = bcg.features.beads(bcg.systems.peptide("ACE-ALA-NME")[0], ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"])
    return Frames.from_numpy(
        beads, unit="nm", dt=1.0, temperature=300.0, topology=mapping.topology,
        forces=300.0 * rng.normal(size=beads.shape), trajectory=np.repeat(np.arange(count), length),
    )  # fmt: skip


@pytest.fixture(scope="module")
def frames() -> Frames:
    return chains(0, 0.3)


@pytest.fixture(scope="module")
def fit(frames: Frames) -> bcg.Fit:
    return bcg.fit(
        ForceMatchingPotential(hidden=(4,)), frames, steps=20, uncertainty="none", compile="off", progress=False
    )


def asked(fit: bcg.Fit, frames: Frames, run: Frames, draws: int = 10, **more: Any) -> bcg.questions.Finding:
    run = replace(run, forces=None, provenance={"potential_draws": draws})
    return bcg.questions.ask(fit, frames, "coarse_against_all_atom", train=frames, simulated=run, **SETTINGS, **more)


def test_the_same_distribution_agrees(fit: bcg.Fit, frames: Frames):
    finding = asked(fit, frames, chains(1, 0.3))
    note = finding.diagnostics["coarse_grained"]
    assert note["populations_agree"]
    assert note["draws"] == 10
    # 32 bins of 64 are visited
    assert note["jensen_shannon"] == pytest.approx(31 * 2 / 2000 / 8, rel=0.5)
    assert note["jensen_shannon_of_halves"] == pytest.approx(31 * 2 / 1000 / 8, rel=0.5)
    assert finding.quantities["population_cis"].mean == pytest.approx(0.3, abs=0.05)
    assert finding.truth["population_cis"] == pytest.approx(0.3, abs=0.05)
    sources = finding.quantities["population_cis"].sd_by_source
    assert sources["sampling"] == pytest.approx((0.3 * 0.7 / 2000) ** 0.5, rel=0.3)  # the draws are of one distribution
    assert finding.figures["coarse_grained"].draw().axes[2].get_title() == "difference"
    assert finding.datasets["coarse_grained"]["coarse_grained"].sum() == 2000


def test_another_distribution_does_not(fit: bcg.Fit, frames: Frames):
    finding = asked(fit, frames, chains(1, 0.5))
    note = finding.diagnostics["coarse_grained"]
    assert not note["populations_agree"]
    p, q = np.array([0.3, 0.7]), np.array([0.5, 0.5])
    assert note["jensen_shannon"] > bcg.analysis.jensen_shannon(p, q)
    assert any("populations of trans, cis differ" in warning for warning in finding.warnings)


@pytest.mark.slow
def test_joint_intervals_hold_as_often_as_is_said(fit: bcg.Fit, frames: Frames):
    """By the numbers of the question alone: 60 pairs of data sets of one distribution."""
    from bayescg.questions.coarse_against_all_atom import CoarseAgainstAllAtom
    from bayescg.questions.finding import Finding
    from bayescg.questions.question import Context
    from bayescg.questions.reading_order import Analysis

    settings, held = Analysis(**SETTINGS), 0
    for seed in range(60):
        run = replace(chains(2 * seed + 101, 0.3, 20, 20), provenance={"potential_draws": 10})
        context = Context(fit, chains(2 * seed + 100, 0.3, 20, 20), settings, simulated=run)
        finding = Finding(diagnostics={"coarse_grained": {}})
        CoarseAgainstAllAtom()._populations(finding, context)
        held += finding.diagnostics["coarse_grained"]["populations_agree"]
    assert 47 <= held <= 60  # of 54; two basins that add up to one with Bonferroni: more often


def test_a_simulation_that_left_the_data_is_named(fit: bcg.Fit, frames: Frames):
    run = chains(1, 0.3)
    x = np.array(run.positions)
    x[70, 4] += 3.0
    finding = asked(fit, frames, replace(run, positions=x))
    torn = [w for w in finding.warnings if "left the data" in w]
    assert len(torn) == 1
    assert "in frame 70 beads 0 and 4 are" in torn[0]
    assert finding.diagnostics["coarse_grained"]["outside_the_range"] > 0


def test_a_loaded_fit_knows_where_it_extrapolates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """When its training frames are set, which no file of it holds; without them it says that it cannot tell.

    The forces here are noise, and those where training never was are less certain by a factor of 2.4 alone (eight of
    alanine dipeptide without a basin): the limit is therefore put at a third.
    """
    monkeypatch.setattr(sys.modules["bayescg.analysis.force_bands"], "_BEYOND", 1.0)
    trans, cis = chains(2, 0.0), chains(3, 1.0)
    model = ForceMatchingPotential(hidden=(16, 16), noise="constant")
    bcg.fit(model, trans, steps=200, learning_rate=0.02, compile="off", progress=False).save(tmp_path)
    fit = bcg.Fit.load(tmp_path)
    finding = asked(fit, trans, cis)
    assert any("set fit.frames" in warning for warning in finding.warnings)
    assert "extrapolates_simulated" not in finding.diagnostics["coarse_grained"]
    fit.frames = trans
    assert asked(fit, trans, trans).diagnostics["coarse_grained"]["extrapolates_simulated"] < 0.15
    finding = asked(fit, trans, cis)
    assert finding.diagnostics["coarse_grained"]["extrapolates_simulated"] > 0.5
    assert any("of simulated frames: the potential extrapolates in" in warning for warning in finding.warnings)


def test_it_is_asked_of_simulations_alone(fit: bcg.Fit, frames: Frames):
    with pytest.raises(ConfigError, match="cannot be asked"):
        bcg.questions.ask(fit, frames, "coarse_against_all_atom", **SETTINGS)
