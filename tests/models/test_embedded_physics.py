"""Embedded physics finds free energies from energies alone, and says when it has lost a well."""

import math
from typing import Any

import pytest
import torch

import bayescg as bcg
from bayescg import checkpoint
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.inference.job import Job
from bayescg.inference.resuming import restore, save
from bayescg.inference.reweighting import evidence, weighted_draws
from bayescg.models import EmbeddedPhysics

BARRIER = 0.16745
QUICK = {"batch_size": 256, "compile": "trace", "learning_rate": 5e-3}


def difference(fit, seed=0, samples=50_000):
    frames = bcg.analysis.reweighted(fit, samples, seed)
    fes = bcg.analysis.free_energy(fit, frames, cv=lambda x: x[:, 0])
    return fes.difference((-10.0, BARRIER), (BARRIER, 10.0))


@pytest.fixture(scope="module")
def oscillator():
    model = EmbeddedPhysics(bcg.systems.Harmonic((1.0, 4.0)), hidden=(16,), components=2)
    return bcg.fit(model, steps=350, seed=0, **QUICK)


def test_an_oscillators_partition_function_is_found(oscillator):
    """Exact: log(2 pi / sqrt(1 * 4)); the generator can be exact, so almost all draws count."""
    found = evidence(weighted_draws(oscillator, 20_000, seed=0))
    assert abs(found.log_z - math.log(math.pi)) < 4 * found.log_z_sd < 0.02
    assert found.ess_fraction > 0.9
    assert found.pareto_k < 0.7
    assert -oscillator.log[-1]["loss"] < math.log(math.pi) + 0.05  # a bound, up to the noise of its batches


def test_cvs_and_configurations_come_out(oscillator):
    cv = oscillator.cv(torch.zeros(5, 2))
    assert (cv.batch_shape, cv.event_shape) == ((5,), (1,))
    x = oscillator.generate(20_000, seed=1)[0]
    assert x.shape == (20_000, 2)
    spread = x.std(0)  # the generator's own, not reweighted: within a few percent
    assert abs(float(spread[0]) - 1.0) < 0.1
    assert abs(float(spread[1]) - 0.5) < 0.05


def test_saving_keeps_the_system(oscillator, tmp_path):
    oscillator.save(tmp_path)
    again = bcg.Fit.load(tmp_path)
    assert again.model.config() == oscillator.model.config()
    assert again.model.config()["system"]["stiffness"] == [1.0, 4.0]
    one, other = (bcg.analysis.reweighted(f, 1000) for f in (oscillator, again))
    assert (one.weights == other.weights).all()


def test_free_energies_come_from_its_own_draws(oscillator):
    """By default, too: halves of a symmetric density."""
    found = bcg.analysis.free_energy(oscillator, cv=lambda x: x[:, 1]).difference((-9, 0), (0, 9))
    assert found.ci90 is not None
    assert abs(found.mean) < 4 * found.sd < 0.05


@pytest.fixture(scope="module")
def untempered():
    """The paper's q(z) at the system's own temperature: the right well is never found."""
    model = EmbeddedPhysics(bcg.systems.DoubleWell(), hidden=(16,), components=1, wake=0.0, beta_start=1.0)
    return bcg.fit(model, steps=400, seed=0, **QUICK)


def test_without_tempering_a_well_is_lost_and_only_the_audit_says_so(untempered):
    found = difference(untempered)
    assert found.ci90 is None or found.ci90[0] > 5.5
    reference = bcg.sampling.smc(bcg.systems.DoubleWell(), islands=50, particles=100, seed=1)
    told = bcg.analysis.audit(untempered, reference, samples=20_000)
    assert told.ess_fraction > 0.5  # the weights see nothing
    assert told.missing_mass_ci90[0] < 1 - 0.991654 < told.missing_mass_ci90[1]
    assert told.forward_ess_fraction < 0.01
    assert any("leaves out" in w for w in told.warnings)
    assert any("hardly apart" in w for w in untempered.diagnostics["warnings"])


@pytest.fixture(scope="module")
def peptide():
    """A few steps on alanine dipeptide: enough to see that everything fits together."""
    system = bcg.systems.alanine_dipeptide("amber96", "obc1", 300.0)
    model = EmbeddedPhysics(system, latent_dim=2, hidden=(8,), components=2, beta_start=0.5, generator="gaussian")
    return bcg.fit(model, steps=40, batch_size=64, compile="trace", seed=0)


def test_molecules_are_generated_and_read(peptide):
    x = peptide.generate(50, seed=1)[0]
    assert x.shape == (50, 22, 3)
    c, s = math.cos(1.0), math.sin(1.0)
    moved = x @ torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) + 0.5
    cv = peptide.cv(x)
    assert (cv.batch_shape, cv.event_shape) == ((50,), (2,))
    torch.testing.assert_close(peptide.cv(moved).mean, cv.mean, atol=2e-3, rtol=0)
    swapped = x[:, [2, 1, 3, 0, *range(4, 22)]]  # hydrogens of a methyl group, in turn
    torch.testing.assert_close(peptide.cv(swapped).mean, cv.mean, atol=2e-3, rtol=0)


def test_a_molecules_guard_is_counted(peptide):
    told = peptide.diagnostics["guarded"]
    assert peptide.model.system.cartesian.guard.cut > 0
    assert told["energies"] >= 40 * 64
    assert 0 < told["active"] < told["energies"]  # of an untrained generator


def test_a_molecule_is_given_again_to_load(peptide, tmp_path):
    peptide.save(tmp_path)
    again = bcg.Fit.load(tmp_path, model=EmbeddedPhysics(
        bcg.systems.alanine_dipeptide("amber96", "obc1", 300.0), latent_dim=2, hidden=(8,), components=2,
        beta_start=0.5, generator="gaussian",
    ))  # fmt: skip
    x = peptide.generate(20, seed=1)[0]
    assert (again.cv(x).mean == peptide.cv(x).mean).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 11, 12, 13])
def test_with_nothing_said_both_wells_are_kept_and_the_audit_costs_less(seed):
    fit = bcg.fit(EmbeddedPhysics(bcg.systems.DoubleWell()), compile="trace", seed=seed)
    assert fit.diagnostics["warnings"] == []
    assert fit.cost["energy_evaluations"] < 1e6
    assert abs(difference(fit, samples=200_000).mean - 4.7776) < 0.1
    told = bcg.analysis.audit(fit)
    assert told.energy_evaluations <= fit.cost["energy_evaluations"]
    assert not told.warnings
    assert told.missing_mass_ci90[1] < 3e-3


def test_what_makes_no_sense_is_refused():
    system = bcg.systems.DoubleWell()
    refused: tuple[dict[str, Any], ...] = (
        {"latent_dim": 0}, {"components": 0}, {"wake": -1.0}, {"beta_start": 0.0}, {"cess": 1.0},
        {"generator": "normal"}, {"generator": "flow"}, {"rounds": 0}, {"fresh": 10}, {"buffer": 10},
    )  # fmt: skip
    for wrong in refused:
        with pytest.raises(ConfigError):
            EmbeddedPhysics(system, **wrong)
    frames = bcg.data.Frames.from_numpy(torch.zeros(4, 2).numpy(), unit="reduced")
    with pytest.raises(DataError, match="not from frames"):
        bcg.fit(EmbeddedPhysics(system), frames)
    unfit: tuple[dict[str, Any], ...] = ({"objective": "iwae"}, {"uncertainty": "bootstrap"})
    for asked in unfit:
        with pytest.raises(ConfigError, match="no frames to weigh"):
            bcg.fit(EmbeddedPhysics(system), **asked)
    with pytest.raises(ModelError, match="has none of some"):
        bcg.fit(EmbeddedPhysics(system, hidden=(4,)), steps=1, batch_size=4)
    with pytest.raises(DataError, match="2 coordinates"):
        EmbeddedPhysics(system).cv(torch.zeros(3, 5))


FLOW: dict[str, Any] = {"latent_dim": 2, "hidden": (8,), "components": 4, "layers": 2, "bins": 3}
FLOW |= {"beta_start": 0.5, "buffer": 200, "fresh": 300, "rounds": 1}


@pytest.fixture(scope="module")
def angles():
    """A few steps of each stage of a flow with latent angles."""
    model = EmbeddedPhysics(bcg.systems.alanine_dipeptide("amber96", "obc1", 300.0), **FLOW)
    return bcg.fit(model, steps=60, batch_size=32, compile="off", seed=0)


def test_a_flow_generates_molecules_and_reads_angles(angles):
    x = angles.generate(50, seed=1)[0]
    assert x.shape == (50, 22, 3)
    cv = angles.cv(x)
    assert (cv.batch_shape, cv.event_shape) == ((50,), (2,))
    assert cv.mean.abs().max() <= math.pi
    assert 0.15 <= cv.stddev.min() <= cv.stddev.max() <= math.pi / 2
    c, s = math.cos(1.0), math.sin(1.0)
    moved = x @ torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) + 0.5
    away = angles.cv(moved).mean - cv.mean
    assert torch.atan2(away.sin(), away.cos()).abs().max() < 5e-3


def test_every_energy_of_a_flow_is_counted(angles):
    at_one = [stage["beta"] >= 1 for stage in angles.diagnostics["tempering"]]
    assert angles.cost["energy_gradients"] == round(0.2 * 42) * 32
    assert angles.cost["energy_evaluations"] == angles.cost["energy_gradients"] + 200 * at_one.count(False) + 300 * sum(
        at_one
    )


def flow_job(steps):
    model = EmbeddedPhysics(bcg.systems.alanine_dipeptide("amber96", "obc1", 300.0), **FLOW)
    settings = {
        "steps": steps, "batch_size": 32, "validation": 0.0, "uncertainty": "none", "members": None,
        "learning_rate": 1e-3, "clip": 100.0, "seed": 0, "objective": "elbo", "particles": 16,
    }  # fmt: skip
    return Job(model, None, settings, "off", torch.device("cpu"))


@pytest.mark.parametrize(
    "stop", [pytest.param(15, marks=pytest.mark.slow), 23, pytest.param(27, marks=pytest.mark.slow)]
)
def test_an_interrupted_flow_ends_the_same(uninterrupted, stop, tmp_path):
    """In each stage: of 30 steps 21 are plain, and 3 reading."""
    first, second = flow_job(30), flow_job(30)
    while first.step < stop:
        first.advance()
    save(first, tmp_path)
    saved = checkpoint.latest(tmp_path)
    assert saved is not None
    restore(second, saved, tmp_path)
    assert second.schedule.stage == first.schedule.stage
    while not second.finished:
        second.advance()
    for name, value in uninterrupted.params.items():
        assert torch.equal(value, second.params[name]), name


@pytest.fixture(scope="module")
def uninterrupted():
    job = flow_job(30)
    while not job.finished:
        job.advance()
    return job


def test_each_stage_trains_what_belongs_to_it():
    """First the flow, then r and its decoder, then the flow that reads: else nothing moves, not by momentum either."""
    job = flow_job(60)
    begun, ends = {k: v.clone() for k, v in job.params.items()}, {}
    while not job.finished:
        stage = job.schedule.stage
        job.advance()
        ends[stage] = {k: v.clone() for k, v in job.params.items()}
    trained = [
        {k.split(".")[1] for k in before if not torch.equal(before[k], after[k])}
        for before, after in ((begun, ends["plain"]), (ends["plain"], ends["reading"]), (ends["reading"], ends[""]))
    ]
    assert trained == [{"decoder"}, {"prior", "reverse", "placement"}, {"prior", "decoder"}]
