"""Boltzmann generators learn from energies, from data or from both, and their weights are exact."""

import math
import signal
from typing import Any, cast

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError, DataError, Interrupted
from bayescg.inference.job import Job
from bayescg.inference.reweighting import evidence, weighted_draws
from bayescg.modelling.schedules.importance import draw
from bayescg.models import BoltzmannGenerator
from bayescg.recording.functional import state_of

BARRIER = 0.16745
LOG_Z = 12.06493
SMALL: dict[str, Any] = {"layers": 4, "hidden": (16,), "beta_start": 0.05, "buffer": 5000, "cess": 0.7}
QUICK: dict[str, Any] = {"batch_size": 256, "compile": "off", "learning_rate": 5e-3}


def generator(**changes):
    return BoltzmannGenerator(bcg.systems.DoubleWell(), **{**SMALL, **changes})


def difference(fit, samples=50_000):
    frames = bcg.analysis.reweighted(fit, samples)
    return bcg.analysis.free_energy(fit, frames, cv=lambda x: x[:, 0]).difference((-10, BARRIER), (BARRIER, 10))


@pytest.fixture(scope="module")
def annealed():
    return bcg.fit(generator(layers=3, buffer=3000), steps=250, seed=0, **QUICK)


def test_annealing_finds_both_wells_and_the_partition_function(annealed):
    found = difference(annealed)
    assert abs(found.mean - 4.7776) < 4 * found.sd < 0.4
    own = evidence(weighted_draws(annealed, 50_000, seed=1))
    assert abs(own.log_z - LOG_Z) < 4 * own.log_z_sd < 0.02
    assert own.pareto_k < 0.7
    assert annealed.diagnostics["warnings"] == []


def test_every_energy_is_counted(annealed):
    stages = annealed.diagnostics["tempering"]
    assert annealed.cost["energy_evaluations"] == 100 * 256 + 3000 * len(stages)
    betas = [stage["beta"] for stage in stages]
    assert betas[0] == 0.05
    assert betas == sorted(betas)
    assert betas[-1] == 1.0


def test_saving_keeps_densities(annealed, tmp_path):
    annealed.save(tmp_path)
    again = bcg.Fit.load(tmp_path)
    one, other = (bcg.analysis.reweighted(f, 1000) for f in (annealed, again))
    assert (one.weights == other.weights).all()


def test_an_audit_by_exact_draws_finds_nothing_missing(annealed):
    told = bcg.analysis.audit(annealed, bcg.sampling.equilibrium(bcg.systems.DoubleWell(), 5000), samples=5000)
    assert told.forward_ess_fraction > 0.3
    assert told.missing_mass_ci90[1] < 5e-3
    assert told.warnings == ()


@pytest.mark.slow
def test_without_annealing_a_well_is_lost_and_only_the_audit_says_so():
    fit = bcg.fit(generator(beta_start=1.0), steps=150, seed=0, **QUICK)
    told = bcg.analysis.audit(fit, bcg.sampling.equilibrium(bcg.systems.DoubleWell(), 20_000), samples=5000)
    assert told.ess_fraction > 0.5  # the weights see nothing
    assert abs(told.missing_mass - (1 - 0.991654)) < 4 * math.sqrt(0.0083 / 20_000)
    assert any("leaves out" in w for w in told.warnings)


@pytest.mark.slow
@pytest.mark.parametrize("system", [bcg.systems.MuellerBrown5D(), bcg.systems.ThreeWell5D()], ids=repr)
def test_with_nothing_said_barriers_of_forty_kt_are_passed(system):
    """In five coordinates, of which two are circles and one is flat; an audit finds nothing missing."""
    fit = bcg.fit(BoltzmannGenerator(system), compile="trace", seed=0)
    own = evidence(weighted_draws(fit, 100_000, seed=1))
    assert abs(own.log_z - bcg.truth.log_partition(system).value) < 4 * own.log_z_sd < 0.02
    assert own.ess_fraction > 0.4
    told = bcg.analysis.audit(fit)
    assert not told.warnings
    assert told.energy_evaluations <= fit.cost["energy_evaluations"] < 3e5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [21, 22, 23])
def test_annealing_is_not_a_matter_of_luck(seed):
    fit = bcg.fit(generator(buffer=20_000), steps=1000, seed=seed, **QUICK)
    found = difference(fit, 200_000)
    assert abs(found.mean - 4.7776) < 0.1
    own = evidence(weighted_draws(fit, 200_000, seed=1))
    assert abs(own.log_z - LOG_Z) < 4 * own.log_z_sd < 0.01
    assert own.ess_fraction > 0.9


def gaussian(frames):
    """Correlated Gaussian frames, their system and the exact log density."""
    rng = np.random.default_rng(0)
    half = np.array([[1.0, 0, 0], [0.8, 0.5, 0], [-0.3, 0.4, 2.0]])
    mean = np.array([3.0, -1.0, 0.5])
    x = torch.as_tensor(rng.normal(size=(frames, 3)) @ half.T + mean)
    exact = torch.distributions.MultivariateNormal(torch.as_tensor(mean), scale_tril=torch.as_tensor(half))
    system = bcg.systems.from_function(lambda y: -exact.log_prob(y.double()).to(y.dtype) + 7.0, dim=3)  # log Z = -7
    return bcg.data.Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=1.0), system, exact


def test_data_give_the_exact_density():
    """A Gaussian one: the divergence from it is that of nine estimated numbers, 9 / 2N, and little of the splines."""
    frames, system, exact = gaussian(8000)
    model = BoltzmannGenerator(system, layers=2, bins=4, hidden=(8,))
    fit = bcg.fit(model, frames, steps=200, batch_size=512, validation=0.0, compile="off", learning_rate=1e-2, seed=0)
    x, trained = exact.sample((20_000,)), fit.model
    assert isinstance(trained, BoltzmannGenerator)
    with torch.no_grad():
        divergence = (exact.log_prob(x) - trained.density().log_prob(x.float())).mean()
    assert -0.002 < float(divergence) < 0.02
    assert fit.cost["energy_evaluations"] == 0
    own = evidence(weighted_draws(fit, 20_000, seed=0))  # energies only weigh what data have taught
    assert abs(own.log_z + 7.0) < 4 * own.log_z_sd < 0.02


def test_data_and_energies_add_up():
    """Where the flow is the system's own density, each draw gives -log Z, and the data their likelihood."""
    system = bcg.systems.Harmonic((1.0, 1.0))
    x = np.random.default_rng(1).normal(size=(64, 2))
    frames = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    model = BoltzmannGenerator(system, layers=2, bins=3, hidden=(4,), energy_weight=3.0)
    job = Job(model, frames, settings(), "off", torch.device("cpu"))
    inner: Any = job.program.inner
    inner.flow.place(torch.zeros(2), 1.0)
    job.buffers = {k: v.detach().clone() for k, v in job.program.named_buffers()}
    _, loss, *_ = job.gradients.run(job.params, job.buffers, job.batch(0), 0)
    exact = math.log(2 * math.pi) + 0.5 * float((x**2).sum(1).mean()) - 3.0 * math.log(2 * math.pi)
    assert abs(float(loss) - exact) < 1e-4


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_energies_beside_frames_are_no_part_of_their_density(objective):
    """Neither of `log_density` nor of the held-out loss that ends the training, whatever log Z is (12 here)."""
    rng = np.random.default_rng(2)
    frames = bcg.data.Frames.from_numpy(rng.normal(size=(64, 2)), unit="reduced", temperature_kT=1.0)
    model = BoltzmannGenerator(bcg.systems.DoubleWell(), layers=2, bins=3, hidden=(4,), energy_weight=3.0)
    job = Job(model, frames, {**settings(), "validation": 0.25, "objective": objective}, "off", torch.device("cpu"))
    job.advance()
    assert job.data is not None
    assert job.data.held_out is not None
    inner: Any = job.program.inner
    inner.load_state_dict({k.removeprefix("inner."): v for k, v in job.state.items()}, strict=False)
    with torch.no_grad():
        exact = inner.density().log_prob(job.data.held_out[0]["x"]).mean()
    assert abs(job.log[-1]["validation"] + float(exact)) < 1e-5
    fit = bcg.fit(model, frames, steps=5, batch_size=64, objective=objective, compile="off", seed=0)
    with torch.no_grad():
        exact = cast("Any", fit.model).density().log_prob(torch.as_tensor(frames.positions).float())
    assert torch.allclose(fit.log_density(frames)[0], exact, atol=1e-5)


def test_the_importance_weighted_bound_counts_energies_as_often_as_it_is_told():
    """With one draw a frame it is the plain bound."""
    rng = np.random.default_rng(2)
    frames = bcg.data.Frames.from_numpy(rng.normal(size=(64, 2)), unit="reduced", temperature_kT=1.0)
    model = BoltzmannGenerator(bcg.systems.Harmonic((1.0, 1.0)), layers=2, bins=3, hidden=(4,), energy_weight=3.0)
    losses = []
    for objective, particles in (("elbo", 1), ("iwae", 1), ("iwae", 7)):
        changed = {**settings(), "objective": objective, "particles": particles}
        job = Job(model, frames, changed, "off", torch.device("cpu"))
        inner: Any = job.program.inner
        inner.flow.place(torch.zeros(2), 1.0)  # the system's own density: no draw differs from another
        job.buffers = {k: v.detach().clone() for k, v in job.program.named_buffers()}
        losses.append(float(job.gradients.run(job.params, job.buffers, job.batch(0), 0)[1]))
    assert max(losses) - min(losses) < 1e-4


def settings():
    return {
        "steps": 10, "batch_size": 64, "validation": 0.0, "uncertainty": "none", "members": None, "learning_rate": 1e-3,
        "clip": 100.0, "seed": 0, "objective": "elbo", "particles": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "step", [pytest.param(20, marks=pytest.mark.slow), 61, pytest.param(90, marks=pytest.mark.slow)]
)
def test_a_fit_that_was_stopped_ends_as_an_undisturbed_one(tmp_path, monkeypatch, step):
    """In the phase of energies, and with a buffer in use, bit for bit."""
    given = {"steps": 100, "batch_size": 32, "learning_rate": 5e-3, "compile": "off", "seed": 3}
    model = generator(layers=2, bins=4, hidden=(4,), buffer=500)
    whole = bcg.fit(model, **given)
    advance = Job.advance

    def stopped(self):
        advance(self)
        if self.step == step:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Job, "advance", stopped)
        with pytest.raises(Interrupted):
            bcg.fit(model, run_dir=tmp_path, **given)
    again = bcg.fit(model, run_dir=tmp_path, **given)
    for name, value in state_of(whole.model).items():
        assert torch.equal(value, state_of(again.model)[name]), name
    assert whole.log == again.log
    assert whole.diagnostics == again.diagnostics


@pytest.fixture(scope="module")
def alanine():
    system = bcg.systems.alanine_dipeptide("amber96", solvent="obc1", temperature=300.0)
    return BoltzmannGenerator(system, layers=2, bins=3, hidden=(8,), beta_start=0.5, buffer=200, fresh=200)


def test_a_molecule_is_annealed_and_its_guard_is_counted(alanine):
    fit = bcg.fit(alanine, steps=30, batch_size=32, compile="off", seed=0)
    told = fit.diagnostics["guarded"]
    assert told["energies"] >= fit.cost["energy_evaluations"]
    assert told["active"] < told["energies"]
    frames = bcg.analysis.reweighted(fit, 200)
    assert frames.positions.shape == (200, 22, 3)
    internal = alanine.coordinates.internal
    assert (internal.chirality(torch.as_tensor(frames.positions)) == 1).all()


def test_weights_of_a_molecule_are_those_of_its_cartesian_density(alanine):
    """By hand: energy of the positions, volume element and density of the flow."""
    torch.manual_seed(0)
    with torch.no_grad():
        draws = draw(alanine, [], state_of(alanine), 50, seed=0)
        x = alanine.positions(draws.x)
        by_hand = alanine.system.cartesian.log_prob(x.flatten(1)) + alanine.coordinates.log_abs_det_jacobian(draws.x)
        by_hand = by_hand - alanine.density().log_prob(draws.x)
    assert torch.allclose(draws.log_weight, by_hand, rtol=1e-5, atol=1e-2)


def test_what_makes_no_sense_is_refused():
    system = bcg.systems.DoubleWell()
    refused: tuple[dict[str, Any], ...] = (
        {"beta_start": 0.0}, {"cess": 1.0}, {"warm": 1.0}, {"layers": 0}, {"bins": 1}, {"buffer": 10},
        {"energy_weight": -1.0},
    )  # fmt: skip
    for wrong in refused:
        with pytest.raises(ConfigError):
            BoltzmannGenerator(system, **wrong)
    with pytest.raises(ConfigError, match="refits cannot share"):
        bcg.fit(BoltzmannGenerator(system), uncertainty="ensemble")
    with pytest.raises(DataError, match="2 coordinates"):
        BoltzmannGenerator(system).inputs(torch.zeros(3, 5))
