"""The audit says when a fit without frames has lost a mode, whatever it is compared with, and is silent otherwise."""

import sys
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.models import EmbeddedPhysics

RIGHT = 1 - 0.9916536563519  # by quadrature
QUICK = {"batch_size": 256, "compile": "trace", "learning_rate": 5e-3}


def double_well(x: torch.Tensor) -> torch.Tensor:
    return x[:, 0] ** 4 / 4 - 3 * x[:, 0] ** 2 + x[:, 0] + x[:, 1] ** 2 / 2


@pytest.fixture(scope="module")
def lost() -> bcg.Fit:
    """A system without a box, whose right well the fit never finds."""
    system = bcg.systems.from_function(double_well, dim=2)
    model = EmbeddedPhysics(system, hidden=(8,), components=1, wake=0.0, beta_start=1.0)
    return bcg.fit(model, steps=400, seed=0, **QUICK)


@pytest.fixture(scope="module")
def kept() -> bcg.Fit:
    """One well, which the generator can describe exactly."""
    system = bcg.systems.from_function(lambda x: 0.5 * (x**2).sum(-1), dim=2)
    return bcg.fit(EmbeddedPhysics(system, hidden=(8,), components=2), steps=300, seed=0, **QUICK)


def exact(n: int = 20_000) -> Frames:
    """Frames of the double well, drawn by inverting its distribution function on a fine grid."""
    random = np.random.default_rng(0)
    grid = np.linspace(-6, 6, 20_001)
    log_p = -(grid**4 / 4 - 3 * grid**2 + grid)
    share = np.cumsum(np.exp(log_p - log_p.max()))
    x = np.interp(random.random(n), share / share[-1], grid)
    return Frames.from_numpy(np.stack([x, random.standard_normal(n)], 1), unit="reduced", temperature_kT=1.0)


def test_a_lost_mode_is_found_without_a_box(lost: bcg.Fit) -> None:
    told = bcg.analysis.audit(lost, samples=20_000, evaluations=1_000_000)
    assert told.energy_evaluations <= 1_000_000
    assert told.ess_fraction > 0.5  # the weights see nothing
    assert abs(told.missing_mass - RIGHT) < 0.003
    assert told.missing_mass_ci90[0] > 0.005
    assert told.reference_log_z is not None
    assert any("leaves out" in w for w in told.warnings)


def test_a_lost_mode_is_found_by_frames(lost: bcg.Fit) -> None:
    told = bcg.analysis.audit(lost, exact(), samples=20_000)
    assert (told.reference, told.reference_log_z) == ("the frames", None)
    assert told.missing_mass_ci90[0] < RIGHT < told.missing_mass_ci90[1]
    assert told.forward_ess_fraction < 0.01
    assert any("leaves out" in w for w in told.warnings)


@pytest.fixture(scope="module")
def cut() -> bcg.Fit:
    """Of four equal wells, learned with a wall around one; then weighed and audited by the system without."""
    system = bcg.systems.QuadrupleWell(temperature_kT=0.25)

    def walled(x: torch.Tensor) -> torch.Tensor:
        return system.energy(x) + 5.0 * torch.sigmoid(10.0 * x).prod(-1)

    model = EmbeddedPhysics(bcg.systems.from_function(walled, dim=2, temperature_kT=0.25), hidden=(16,))
    fit = bcg.fit(model, steps=600, seed=0, **QUICK)
    assert isinstance(fit.model, EmbeddedPhysics)
    fit.model.system = system
    return fit


def test_a_well_that_was_cut_out_is_found_for_no_more_than_the_fit_took(cut: bcg.Fit) -> None:
    told = bcg.analysis.audit(cut)
    assert told.energy_evaluations <= cut.cost["energy_evaluations"]
    assert told.missing_mass_ci90[0] < 0.25 < told.missing_mass_ci90[1]
    assert any("leaves out" in w for w in told.warnings)
    frames = bcg.analysis.reweighted(cut, 20_000)
    fes = bcg.analysis.free_energy(cut, frames, cv=lambda x: x[:, 0], bins=10, draws=20)
    difference = fes.difference((-9, 0), (0, 9))
    assert difference.ci90 is None
    assert "leaves out" in (difference.warning or "")


def test_draws_that_hardly_count_have_no_interval() -> None:
    """A Gaussian against a landscape whose angles it cannot turn."""
    model = EmbeddedPhysics(bcg.systems.MuellerBrown5D(), hidden=(8,), components=2)
    fit = bcg.fit(model, steps=100, seed=0, **QUICK)
    frames = bcg.analysis.reweighted(fit, 50_000)
    fes = bcg.analysis.free_energy(fit, frames, cv=lambda x: x[:, 4], bins=10, draws=20)
    difference = fes.difference((-50.0, 0.0), (0.0, 50.0))
    assert difference.ci90 is None
    assert "BoltzmannGenerator" in (difference.warning or "")


def gaussian() -> Frames:
    return Frames.from_numpy(np.random.default_rng(1).standard_normal((5000, 2)), unit="reduced", temperature_kT=1.0)


def test_nothing_is_said_of_a_good_fit(kept: bcg.Fit) -> None:
    told = bcg.analysis.audit(kept, gaussian(), samples=20_000)
    assert told.warnings == ()
    assert told.missing_mass_ci90[1] < 1e-3
    assert told.forward_ess_fraction > 0.7  # of a quick fit


def test_few_frames_say_little_and_one_nothing(kept: bcg.Fit, lost: bcg.Fit) -> None:
    """Two frames, of which one is in the lost well, or none; many, which one outweighs."""
    x = np.array([[2.5, 0.0], [-2.5, 0.0]])

    def frames(x: np.ndarray) -> Frames:
        return Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)

    for reference in (frames(x), frames(x[[1, 1]]), replace(exact(2000), weights=np.r_[1e9, np.ones(1999)])):
        told = bcg.analysis.audit(lost, reference, samples=1000)
        low, high = told.missing_mass_ci90
        assert 0 <= low <= told.missing_mass <= high <= 1
        assert high > 0.5
        assert "frames of the reference count, fewer than 10" in told.warnings[0]
    enough = bcg.analysis.audit(kept, frames(gaussian().positions[:12]), samples=1000)
    assert not any("fewer than 10" in w for w in enough.warnings)
    with pytest.raises(ConfigError, match="one frame only: give at least 10"):
        bcg.analysis.audit(kept, frames(x[:1]), samples=1000)


def test_a_reference_of_something_else_is_refused(kept: bcg.Fit) -> None:
    with pytest.raises(ConfigError, match="3 coordinates"):
        bcg.analysis.audit(kept, Frames.from_numpy(np.zeros((9, 3)), unit="reduced"), samples=1000)
    x, wrong = np.zeros((9, 2)), "the reference is at kT = 2, the system of the fit at kT = 1"
    with pytest.raises(ConfigError, match=wrong):
        bcg.analysis.audit(kept, Frames.from_numpy(x, unit="reduced", temperature_kT=2.0), samples=1000)
    with pytest.raises(ConfigError, match="temperature_kT=1"):
        bcg.analysis.audit(kept, Frames.from_numpy(x, unit="reduced"), samples=1000)
    hotter = bcg.sampling.smc(bcg.systems.Harmonic((1.0, 1.0), temperature_kT=2.0), islands=10, particles=20, seed=0)
    with pytest.raises(ConfigError, match=wrong):
        bcg.analysis.audit(kept, hotter, samples=1000)
    array: Any = x
    with pytest.raises(ConfigError, match=r"of type ndarray: give frames"):
        bcg.analysis.audit(kept, array, samples=1000)


def test_free_energies_repeat_what_an_audit_found(
    lost: bcg.Fit, kept: bcg.Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own draws cannot show a lost well: unaudited, that is said; audited, what was found."""
    fewer = partial(bcg.analysis.reweighted, samples=20_000)
    monkeypatch.setattr(sys.modules[bcg.analysis.free_energy.__module__], "reweighted", fewer)
    for fit, warned in ((lost, True), (kept, False)):
        fit.diagnostics.pop("audit", None)
        before = bcg.analysis.free_energy(fit, cv=lambda x: x[:, 0], bins=10, draws=20)
        assert "compared with nothing" in before.warnings[0]
        told = bcg.analysis.audit(fit, exact() if warned else gaussian(), samples=20_000)
        after = bcg.analysis.free_energy(fit, cv=lambda x: x[:, 0], bins=10, draws=20)
        assert after.warnings[: len(told.warnings)] == told.warnings
        assert any("leaves out" in w for w in after.warnings) == warned
        assert not any("compared with nothing" in w for w in after.warnings)


@pytest.mark.slow
def test_rates_over_seeds() -> None:
    """Ten untempered fits, all of which lose the right well, and ten of an oscillator: all told apart."""
    flagged = []
    for seed in range(10):
        for system, lose in ((bcg.systems.DoubleWell(), True), (bcg.systems.Harmonic((1.0, 4.0)), False)):
            model = EmbeddedPhysics(system, hidden=(8,), components=1, wake=0.0, beta_start=1.0)
            fit = bcg.fit(model, steps=400, seed=seed, **QUICK)
            told = bcg.analysis.audit(fit, samples=20_000, seed=seed, evaluations=1_000_000)
            flagged.append((lose, bool(told.warnings)))
    assert flagged == [(True, True), (False, False)] * 10


@pytest.mark.slow
def test_a_lost_basin_of_a_molecule_is_found() -> None:
    """Without tempering, one basin of alanine dipeptide; the alpha basin holds 12 % at 300 K."""
    system = bcg.systems.alanine_dipeptide("amber96", "obc1", 300.0)
    model = EmbeddedPhysics(
        system, latent_dim=2, hidden=(16,), components=1, wake=0.0, beta_start=1.0, generator="gaussian"
    )
    fit = bcg.fit(model, steps=400, seed=0, **QUICK)
    told = bcg.analysis.audit(fit, samples=20_000, evaluations=4_000_000)
    assert told.guarded_fraction is not None
    assert told.missing_mass_ci90[0] > 0.02
    assert any("leaves out" in w for w in told.warnings)
