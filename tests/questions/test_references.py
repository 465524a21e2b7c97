"""The shipped references: consistent in themselves, agreed on from both starts, and made again by their script."""

from dataclasses import replace

import numpy as np
import pytest

from bayescg.errors import DataError
from bayescg.experiments import load
from bayescg.questions.known import reference_profile
from bayescg.questions.reference import free_energy_rms
from bayescg.questions.references import load_reference, reference_names
from bayescg.questions.references.by_tempering import PLANS, sample, summarise
from bayescg.questions.references.sampled import inside

NAME, VACUUM = "alanine-dipeptide-obc1-300K", "alanine-dipeptide-vacuum-300K"
PEPTIDE = "trialanine-obc1-300K"
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


@pytest.fixture(scope="module")
def plane(reference):
    return reference.planes["ALA-2"]


def test_a_reference_is_consistent_in_itself(reference, plane):
    assert plane.counts.sum() == reference.frames
    assert reference.edges.shape == (65,)
    assert reference.edges[[0, -1]] == pytest.approx([-np.pi, np.pi])
    assert 0 < plane.kl_floor_independent < plane.kl_floor < 1e-3
    assert plane.effective_frames == pytest.approx((plane.counts > 0).sum() / (2 * plane.kl_floor))
    share = {name: mean for name, (mean, _) in reference.populations.items()}
    assert share["alpha"] + share["beta"] == pytest.approx(1.0)
    assert share["phi_positive"] + share["phi_negative"] == pytest.approx(1.0)
    assert share["phi_negative, alpha"] + share["phi_negative, beta"] == pytest.approx(share["phi_negative"])
    # of bins that lie in a region as a whole, the histogram says the same
    middle = (reference.edges[1:] + reference.edges[:-1]) / 2
    phi, psi = np.meshgrid(middle, middle, indexing="ij")
    inside_it = reference.contains("phi_positive", {"phi": phi, "psi": psi})
    there = plane.counts[inside_it].sum() / reference.frames
    assert there == pytest.approx(share["phi_positive"], abs=0.1 * share["phi_positive"])


@pytest.mark.parametrize(
    ("name", "rare", "precision"),
    [
        (NAME, "phi_positive", 0.1),
        *((f"alanine-dipeptide-obc1-{kelvin}K", "phi_positive", 0.1) for kelvin in (400, 500, 600)),
        (VACUUM, "C7ax", 0.1),
        (PEPTIDE, "alpha_3", 0.1),
        (PEPTIDE, "all alpha", 0.2),
    ],
)
def test_both_starts_agree(name, rare, precision):
    """Of runs that began in different basins: converged, or they would differ."""
    reference = load_reference(name)
    for region, ((a, da), (b, db)) in reference.populations_by_start.items():
        assert abs(a - b) < 4 * np.hypot(da, db), region
        mean, error = reference.populations[region]
        assert mean == pytest.approx((a + b) / 2)
        assert error == pytest.approx(np.hypot(da, db) / 2)
        if name != PEPTIDE:  # of which the errors of the two runs differ by more
            assert error < min(da, db), region
    share, error = reference.populations[rare]
    assert error < precision * share


def test_a_reference_of_several_residues_has_a_plane_of_each():
    """Their names are those of observables, and no two planes are one."""
    peptide = load_reference(PEPTIDE)
    residues = ["ALA-2", "ALA-3", "ALA-4"]
    assert peptide.torsions == {residue: [f"phi {residue}", f"psi {residue}"] for residue in residues}
    middle = (peptide.edges[1:] + peptide.edges[:-1]) / 2
    angles = np.meshgrid(middle, middle, indexing="ij")
    for k, residue in enumerate(residues, start=2):
        plane, pair = peptide.planes[residue], dict(zip(peptide.torsions[residue], angles, strict=True))
        assert plane.counts.sum() == peptide.frames
        for region in ("alpha", "phi_positive"):
            share = plane.counts[peptide.contains(f"{region}_{k}", pair)].sum() / peptide.frames
            assert share == pytest.approx(peptide.populations[f"{region}_{k}"][0], rel=0.05)
        for name, axis in zip(peptide.torsions[residue], (1, 0), strict=True):
            profile = reference_profile(PEPTIDE, name)
            assert profile is not None
            assert np.array_equal(profile[1], plane.probability.sum(axis))
        others = [peptide.planes[other] for other in residues if other != residue]
        assert min(plane.divergence(other.counts) for other in others) > 2 * plane.kl_floor
    assert reference_profile(PEPTIDE, "phi") is None


def test_free_energies_across_the_barrier_of_the_vacuum_are_known_to_a_tenth_of_kT():
    vacuum = load_reference(VACUUM)
    (ax, error), (eq, _) = vacuum.populations["C7ax"], vacuum.populations["C7eq"]
    assert ax + eq == pytest.approx(1.0)
    assert error / ax / eq < 0.07
    ends = [np.log(b / a) for (a, _), (b, _) in zip(*vacuum.populations_by_start.values(), strict=True)]
    assert abs(ends[0] - ends[1]) < 0.2
    assert free_energy_rms(vacuum.planes["ALA-2"].counts, vacuum.planes["ALA-2"].counts, 5.0) == 0.0


def test_regions_are_those_of_the_experiments():
    for name, region in load("alanine-dipeptide").analysis.regions.items():
        assert REGIONS[name] == region
    phi, psi = np.radians([[-60.0, 60.0, 179.0, 130.0], [-40.0, 60.0, -130.0, 59.0]])
    angles = {"phi": phi, "psi": psi}
    for name, region in load("trialanine-boltzmann").analysis.regions.items():
        assert PLANS[PEPTIDE].regions[name] == region
    assert inside(REGIONS["phi_negative, alpha"], angles).tolist() == [True, False, False, True]
    assert inside(REGIONS["phi_positive"], angles).tolist() == [False, True, False, False]


def test_divergence_of_known_histograms(plane):
    counts = plane.counts.astype(float)
    assert plane.divergence(counts) == 0.0
    moved = counts.copy()
    i = np.unravel_index(counts.argmax(), counts.shape)
    moved[i] /= 2
    p = counts[i] / counts.sum()
    assert plane.divergence(moved) == pytest.approx(p * np.log(2) + np.log(1 - p / 2), rel=1e-6)
    # draws of the reference itself: the mean of a chi-square over twice their number
    occupied, draws = (counts > 0).sum(), 10**8
    rng = np.random.default_rng(0)
    found = np.mean([plane.divergence(rng.multinomial(draws, counts.ravel() / counts.sum()).reshape(64, 64))
                     for _ in range(20)])  # fmt: skip
    assert found / (occupied / (2 * draws)) == pytest.approx(1.0, abs=0.1)
    with pytest.raises(DataError, match="histogram of shape"):
        plane.divergence(np.ones((60, 60)))
    with pytest.raises(DataError, match="there is no reference nothing"):
        load_reference("nothing")


@pytest.mark.slow
def test_the_reference_can_be_made_again(reference, tmp_path):
    """A hundredth of it, from the same two starts."""
    plan = replace(PLANS[NAME], steps=(1600, 1200), chains=32)
    again, angles = summarise(plan, sample(plan, tmp_path))
    assert angles.shape == (again.frames, 1, 2) == (32 * 2800, 1, 2)
    for name, (mean, error) in again.populations.items():
        assert abs(mean - reference.populations[name][0]) < 4 * np.hypot(error, reference.populations[name][1]), name
    for name, (mean, sd, error) in again.averages.items():
        assert abs(mean - reference.averages[name][0]) < 4 * np.hypot(error, reference.averages[name][2]), name
        assert sd == pytest.approx(reference.averages[name][1], rel=0.1)
    assert again.planes["ALA-2"].kl_floor > 10 * reference.planes["ALA-2"].kl_floor
    again.save(tmp_path / "again.npz")
    assert load_reference(tmp_path / "again.npz").populations == again.populations
