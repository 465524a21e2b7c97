"""A fit's own weighted draws, those of all refits of an ensemble, and an audit that finds what is there."""

import math

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import DataError
from bayescg.inference.generation import generate
from bayescg.models import EmbeddedPhysics
from bayescg.recording.functional import call_with, seeded


def test_a_fit_of_frames_has_no_draws_of_its_own():
    from bayescg.models import PredictiveCV

    model, frames, _ = PredictiveCV.example()
    fit = bcg.fit(model, frames, steps=5, uncertainty="none", compile="off")
    with pytest.raises(DataError, match="give frames="):
        bcg.analysis.free_energy(fit)
    with pytest.raises(DataError, match="give frames="):
        bcg.analysis.audit(fit)


@pytest.mark.slow  # by default: the good fit of test_audit.py
def test_an_audit_of_a_good_fit_finds_nothing_missing():
    model = EmbeddedPhysics(bcg.systems.Harmonic((1.0, 4.0)), hidden=(8,), components=2)
    fit = bcg.fit(model, steps=300, batch_size=128, learning_rate=5e-3, compile="trace", seed=0)
    reference = bcg.sampling.smc(model.system, islands=50, particles=100, seed=1)
    told = bcg.analysis.audit(fit, reference, samples=10_000)
    assert told.warnings == ()
    assert told.missing_mass_ci90[1] < 2e-3
    assert told.forward_ess_fraction > 0.5
    cost = reference.frames.provenance["cost"]
    assert told.energy_evaluations == 10_000 + 5000 + cost["energy_evaluations"] + cost["force_evaluations"]
    assert torch.isfinite(torch.tensor(told.log_z))


@pytest.fixture(scope="module")
def ensemble():
    model = EmbeddedPhysics(bcg.systems.Harmonic((1.0, 4.0)), hidden=(4,), components=2)
    return bcg.fit(model, steps=150, batch_size=64, uncertainty="ensemble", members=5, compile="trace", seed=0)


def test_every_refit_has_its_share_of_the_draws(ensemble):
    frames = bcg.analysis.reweighted(ensemble, 5000, seed=1)
    assert frames.provenance["refits"] == 5
    assert frames.provenance["energy_evaluations"] == 5000
    assert frames.weights is not None
    totals = np.bincount(frames.trajectory, np.asarray(frames.weights))
    assert np.allclose(totals, totals[0])
    spread = [frames.positions[frames.trajectory == m].std(0) for m in range(5)]
    assert len(np.unique(np.round(spread, 6), axis=0)) == 5
    noise = np.corrcoef(frames.positions[:, 1].reshape(5, -1))  # each has random numbers of its own
    assert np.abs(noise - np.eye(5)).max() < 5 / 1000**0.5


def test_error_bars_of_refits_are_made_of_their_spread(ensemble):
    """Halves of a symmetric density, by five estimates."""
    frames = bcg.analysis.reweighted(ensemble, 50_000, seed=1)
    found = bcg.analysis.free_energy(ensemble, frames, cv=lambda x: x[:, 0]).difference((-9, 0), (0, 9))
    assert frames.weights is not None
    assert set(found.sd_by_source) == {"sampling", "parameter"}
    assert math.hypot(*(sd or 0.0 for sd in found.sd_by_source.values())) == pytest.approx(found.sd)
    left = [np.average(frames.positions[own, 0] < 0, weights=frames.weights[own])
            for own in frames.trajectory == np.arange(5)[:, None]]  # fmt: skip
    each = np.log(left) - np.log1p(-np.array(left))
    assert found.mean == pytest.approx(each.mean(), abs=0.5 * found.sd)
    assert 0.8 < found.sd / (each.std(ddof=1) / 5**0.5) < 1.25


def test_an_ensemble_is_generated_from_and_kept(ensemble, tmp_path):
    """All refits at once are each refit alone, which draws components by weights of its own."""
    ensemble.save(tmp_path)
    again = bcg.Fit.load(tmp_path)
    one, other = (f.generate(2000, seed=1) for f in (ensemble, again))
    assert torch.equal(one, other)
    for m, x in enumerate(one):
        alone = {**ensemble.weights.point, **{k: v[m] for k, v in ensemble.weights.tensors.items()}}
        with seeded(2), torch.no_grad():  # the next of the seed given
            expected = call_with(ensemble.model, alone, generate, list(ensemble.weights.names), 2000, 1)
        assert torch.isclose(x, expected, atol=1e-4).all(1).float().mean() > 0.998  # rounding moves a draw or two
    assert len(one.std(1)[:, 0].unique()) == len(one) == ensemble.weights.members
