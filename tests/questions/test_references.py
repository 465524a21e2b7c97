"""The shipped references: consistent in themselves, agreed on from both starts, and made again by their script."""

from dataclasses import replace

import numpy as np
import pytest

from bayescg.errors import DataError
from bayescg.experiments import load
from bayescg.questions.reference import free_energy_rms
from bayescg.questions.references import load_reference, reference_names
from bayescg.questions.references.alanine_dipeptide import PLANS, sample, summarise
from bayescg.questions.references.sampled import inside

NAME, VACUUM = "alanine-dipeptide-obc1-300K", "alanine-dipeptide-vacuum-300K"
REGIONS = PLANS[NAME].regions


@pytest.fixture(scope="module")
def reference():
    return load_reference(NAME)


def test_references_are_those_of_the_plans():
    assert reference_names() == sorted(PLANS)
    for name, plan in PLANS.items():
        made = load_reference(name).made
        assert load_reference(name).regions == plan.regions
        assert made["settings"].items() >= plan.settings.items()
        assert made["settings"]["chains"] == [plan.chains] * 2


def test_a_reference_is_consistent_in_itself(reference):
    assert reference.counts.sum() == reference.frames
    assert reference.edges.shape == (65,)
    assert reference.edges[[0, -1]] == pytest.approx([-np.pi, np.pi])
    assert 0 < reference.kl_floor_independent < reference.kl_floor < 1e-3
    assert reference.effective_frames == pytest.approx((reference.counts > 0).sum() / (2 * reference.kl_floor))
    share = {name: mean for name, (mean, _) in reference.populations.items()}
    assert share["alpha"] + share["beta"] == pytest.approx(1.0)
    assert share["phi_positive"] + share["phi_negative"] == pytest.approx(1.0)
    assert share["phi_negative, alpha"] + share["phi_negative, beta"] == pytest.approx(share["phi_negative"])
    # of bins that lie in a region as a whole, the histogram says the same
    middle = (reference.edges[1:] + reference.edges[:-1]) / 2
    phi, psi = np.meshgrid(middle, middle, indexing="ij")
    there = reference.counts[reference.contains("phi_positive", phi, psi)].sum() / reference.frames
    assert there == pytest.approx(share["phi_positive"], abs=0.1 * share["phi_positive"])


@pytest.mark.parametrize("name", [NAME, VACUUM])
def test_both_starts_agree(name):
    """What began at negative and what began at positive phi: converged, or they would differ."""
    reference = load_reference(name)
    for name, ((a, da), (b, db)) in reference.populations_by_start.items():
        assert abs(a - b) < 4 * np.hypot(da, db), name
        mean, error = reference.populations[name]
        assert min(a, b) <= mean <= max(a, b)
        assert np.hypot(da, db) / 2 * 0.9 < error < min(da, db)
    share, error = reference.populations["phi_positive" if "phi_positive" in reference.regions else "C7ax"]
    assert error < 0.1 * share


def test_free_energies_across_the_barrier_of_the_vacuum_are_known_to_a_tenth_of_kT():
    vacuum = load_reference(VACUUM)
    (ax, error), (eq, _) = vacuum.populations["C7ax"], vacuum.populations["C7eq"]
    assert ax + eq == pytest.approx(1.0)
    assert error / ax / eq < 0.07
    ends = [np.log(b / a) for (a, _), (b, _) in zip(*vacuum.populations_by_start.values(), strict=True)]
    assert abs(ends[0] - ends[1]) < 0.2
    assert free_energy_rms(vacuum.counts, vacuum.counts, 5.0) == 0.0


def test_regions_are_those_of_the_experiment():
    for name, region in load("alanine-dipeptide").analysis.regions.items():
        assert REGIONS[name] == region
    phi, psi = np.radians([[-60.0, 60.0, 179.0, 130.0], [-40.0, 60.0, -130.0, 59.0]])
    assert inside(REGIONS["phi_negative, alpha"], phi, psi).tolist() == [True, False, False, True]
    assert inside(REGIONS["phi_positive"], phi, psi).tolist() == [False, True, False, False]


def test_divergence_of_known_histograms(reference):
    counts = reference.counts.astype(float)
    assert reference.divergence(counts) == 0.0
    moved = counts.copy()
    i = np.unravel_index(counts.argmax(), counts.shape)
    moved[i] /= 2
    p = counts[i] / counts.sum()
    assert reference.divergence(moved) == pytest.approx(p * np.log(2) + np.log(1 - p / 2), rel=1e-6)
    # draws of the reference itself: the mean of a chi-square over twice their number
    occupied, draws = (counts > 0).sum(), 10**8
    rng = np.random.default_rng(0)
    found = np.mean([reference.divergence(rng.multinomial(draws, counts.ravel() / counts.sum()).reshape(64, 64))
                     for _ in range(20)])  # fmt: skip
    assert found / (occupied / (2 * draws)) == pytest.approx(1.0, abs=0.1)
    with pytest.raises(DataError, match="histogram of shape"):
        reference.divergence(np.ones((60, 60)))
    with pytest.raises(DataError, match="there is no reference nothing"):
        load_reference("nothing")


@pytest.mark.slow
def test_the_reference_can_be_made_again(reference, tmp_path):
    """A hundredth of it, from the same two starts."""
    plan = replace(PLANS[NAME], steps=(1600, 1200), chains=32)
    again, angles = summarise(plan, sample(plan, tmp_path))
    assert angles.shape == (again.frames, 2) == (32 * 2800, 2)
    for name, (mean, error) in again.populations.items():
        assert abs(mean - reference.populations[name][0]) < 4 * np.hypot(error, reference.populations[name][1]), name
    for name, (mean, sd, error) in again.averages.items():
        assert abs(mean - reference.averages[name][0]) < 4 * np.hypot(error, reference.averages[name][2]), name
        assert sd == pytest.approx(reference.averages[name][1], rel=0.1)
    assert again.kl_floor > 10 * reference.kl_floor
    again.save(tmp_path / "again.npz")
    assert load_reference(tmp_path / "again.npz").populations == again.populations
