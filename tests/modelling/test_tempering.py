"""A fit cools when its loss has stopped falling, by as much as its draws allow, also after an interruption."""

import math

import pytest
import torch

import bayescg as bcg
from bayescg import checkpoint
from bayescg.inference.job import Job
from bayescg.inference.result import result
from bayescg.inference.resuming import restore, save
from bayescg.modelling import AdaptiveTempering, Draws
from bayescg.models import EmbeddedPhysics
from bayescg.recording.functional import state_of
from bayescg.sampling.weights import conditional_ess


def gaussian_draws(n: int = 40_000, energy_sd: float = 1.0) -> Draws:
    """Equal weights, Gaussian energies."""
    energy = energy_sd * torch.randn(n, generator=torch.Generator().manual_seed(0))
    return Draws(torch.zeros(n, 1), torch.zeros(n), torch.zeros(n), -energy)


def feed(tempering: AdaptiveTempering, losses: torch.Tensor) -> bool:
    for loss in losses:
        tempering.observe(loss)
    return tempering.converged


def test_a_falling_loss_has_not_converged_and_a_flat_one_has():
    noise = 0.1 * torch.randn(400, generator=torch.Generator().manual_seed(0))
    assert not feed(AdaptiveTempering(0.1, 0.9, 4000), noise - 0.01 * torch.arange(400))
    assert feed(AdaptiveTempering(0.1, 0.9, 4000), noise)
    assert not feed(AdaptiveTempering(0.1, 0.9, 4000), noise[:75])  # too few windows to say


def test_the_step_keeps_the_conditional_effective_sample_size():
    tempering = AdaptiveTempering(0.1, 0.9, 4000)
    feed(tempering, torch.zeros(40))
    draws = gaussian_draws()
    tempering.advance(40, [Draws(draws.x, draws.log_weight, draws.log_share, 0.1 * draws.log_target)])
    step = tempering.beta - 0.1
    assert abs(step - math.sqrt(-math.log(0.9))) < 0.02  # exp(-variance) for Gaussian exponents, to Monte Carlo error
    assert abs(conditional_ess(draws.log_weight, step * draws.log_target) - 0.9) < 1e-4
    assert [s.beta for s in tempering.stages] == [0.1]
    assert abs(tempering.stages[0].ess - 1) < 1e-6


def test_refits_cool_no_faster_than_the_slowest():
    one, both = AdaptiveTempering(0.1, 0.9, 4000), AdaptiveTempering(0.1, 0.9, 4000)
    for tempering, sds in ((one, [3.0]), (both, [1.0, 3.0])):
        feed(tempering, torch.zeros(40))
        tempering.advance(40, [gaussian_draws(energy_sd=0.1 * sd) for sd in sds])
    assert one.beta == both.beta


def test_its_own_temperature_is_reached_however_slowly_the_loss_falls():
    """And the haste is told."""
    tempering = AdaptiveTempering(0.02, 0.9, 2000)
    for step in range(1, 2001):
        tempering.observe(torch.tensor(-1.0 * step))
        if tempering.due(step):
            draws = gaussian_draws(2000, energy_sd=1.0)  # energies spread by kT / beta, as an oscillator's do
            tempering.advance(step, [draws])
    assert tempering.done
    assert tempering.stages[-1].step <= 0.75 * 2000
    assert not any(s.converged for s in tempering.stages)
    assert "still falling at beta = 0.02" in tempering.warnings()[0]


def test_a_fit_whose_temperatures_converge_early_is_over_early():
    """With six tenths of its steps at the temperatures before the last; the learning rate falls over all of them."""
    tempering = AdaptiveTempering(0.9, 0.9, 4000)
    feed(tempering, torch.zeros(300))
    tempering.advance(300, [gaussian_draws(energy_sd=0.1)])
    assert [tempering.over(step) for step in (499, 500)] == [False, True]
    assert tempering.course(400) == (0, 500)
    model = EmbeddedPhysics(bcg.systems.Harmonic((1.0,)), hidden=(4,), components=2, beta_start=0.2)
    fit = bcg.fit(model, steps=1600, batch_size=64, learning_rate=1e-2, compile="trace", seed=0)
    stages = fit.diagnostics["tempering"]
    assert all(stage["converged"] for stage in stages)
    assert fit.cost["steps"] == math.ceil(stages[-1]["step"] / 0.6) < 1200
    assert fit.log[-1]["step"] == fit.cost["steps"]


def test_a_fit_too_short_says_where_it_ended():
    model = EmbeddedPhysics(bcg.systems.Harmonic((1.0,)), hidden=(4,), components=2)
    fit = bcg.fit(model, steps=10, batch_size=16, compile="off", seed=0)
    assert any("before the system's own temperature" in w for w in fit.diagnostics["warnings"])
    assert isinstance(fit.model, EmbeddedPhysics)
    assert float(fit.model.beta) == 1.0


@pytest.mark.parametrize(
    "stop", [pytest.param(7, marks=pytest.mark.slow), 45, pytest.param(90, marks=pytest.mark.slow)]
)
def test_a_fit_gone_on_with_in_the_middle_ends_the_same(tmp_path, stop):
    """Bit for bit: windows, stages and temperature are in the checkpoint."""
    model = EmbeddedPhysics(bcg.systems.DoubleWell(), hidden=(8,), components=4)
    settings = {
        "steps": 150, "batch_size": 64, "validation": 0.0, "uncertainty": "none", "members": None,
        "learning_rate": 5e-3, "clip": 100.0, "seed": 3, "objective": "elbo", "particles": 16,
    }  # fmt: skip

    def job() -> Job:
        return Job(model, None, settings, "off", torch.device("cpu"))

    whole, first, second = job(), job(), job()
    while not whole.finished:
        whole.advance()
    while first.step < stop:
        first.advance()
    save(first, tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    restore(second, found, tmp_path)
    while not second.finished:
        second.advance()
    ends = [result(j, 0.0, None) for j in (whole, second)]
    assert ends[0].diagnostics["tempering"] == ends[1].diagnostics["tempering"]
    assert len(ends[0].diagnostics["tempering"]) > 2
    assert ends[0].log == ends[1].log
    for name, value in state_of(ends[0].model).items():
        assert torch.equal(value, state_of(ends[1].model)[name]), name
    assert ends[0].cost["energy_evaluations"] == 150 * 64 + 10_000 * len(ends[0].diagnostics["tempering"])
