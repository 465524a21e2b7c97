"""Buffers of reweighted draws: their weights, their temperatures, their share of the steps."""

import json
import math
from itertools import pairwise

import pytest
import torch

from bayescg.modelling import Draws, ReweightedAnnealing
from bayescg.modelling.schedules.ladder import Stage

CPU = torch.device("cpu")


def draws(beta, count=20_000, seed=0, sd=1.0):
    """Of N(0, sd) against exp(-beta x^2 / 2)."""
    x = sd * torch.randn(count, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    log_target = -0.5 * beta * x[:, 0] ** 2
    log_q = torch.distributions.Normal(0.0, sd).log_prob(x[:, 0])
    return Draws(x, log_target - log_q, torch.zeros(count, dtype=torch.float64), log_target)


def annealed(steps=1000, start=0.1, cess=0.9, until=None, **changes):
    """A whole ladder, each buffer drawn from the exact density of its temperature, and the steps of the buffers."""
    found = ReweightedAnnealing(start, cess, steps, 20_000, 0.2, **changes)
    times = []
    for step in range(1, (until or steps) + 1):
        found.observe(torch.tensor(1.0))
        if found.due(step):
            times.append(step)
            found.advance(step, [draws(found.beta, seed=step, sd=found.beta**-0.5)])
    return found, times


def test_batches_follow_the_weights():
    """Draws at beta = 0.25 become those of the next temperature: N(0, 1 / beta)."""
    found = ReweightedAnnealing(0.25, 0.9, 100, 20_000, 0.2)
    found.observe(torch.tensor(0.0))
    found.advance(20, [draws(0.25, sd=2.0)])
    x = torch.cat([found.batch(500, seed, CPU)["x"] for seed in range(40)])
    assert 0.25 < found.beta < 1.0
    sd = found.beta**-0.5
    assert abs(float(x.mean())) < 4 * sd / math.sqrt(5000)
    assert abs(float(x.std()) / sd - 1) < 4 / math.sqrt(2 * 5000)
    assert not torch.equal(found.batch(500, 0, CPU)["x"], found.batch(500, 1, CPU)["x"])
    assert torch.equal(found.batch(500, 1, CPU)["x"], found.batch(500, 1, CPU)["x"])


def test_the_ladder_keeps_the_conditional_effective_size():
    """Of N(0, 1 / beta) to beta': sqrt(b (2 b' - b)) / b' with b, b' the two; solved for 0.9."""
    found, _ = annealed()
    betas = [stage.beta for stage in found.stages]
    for b, c in pairwise(betas):
        if c < 1:
            assert abs(math.sqrt(b * (2 * c - b)) / c - 0.9) < 0.02
    assert betas[-1] == 1.0
    assert all(stage.ess > 0.999 for stage in found.stages)
    exact = [0.5 * math.log(2 * math.pi / b) for b in betas]
    assert all(abs(stage.log_z - e) < 1e-6 for stage, e in zip(found.stages, exact, strict=True))
    assert found.warnings() == []


@pytest.mark.parametrize("steps", [100, 1000, 5000])
def test_steps_are_shared(steps):
    found, times = annealed(steps)
    assert times[0] == steps // 5
    lengths = [b - a for a, b in zip(times, [*times[1:], steps], strict=True)]
    arrival = next(t for t, s in zip(times, found.stages, strict=True) if s.beta >= 1)
    assert 0.7 * steps <= arrival <= 0.95 * steps
    assert min(lengths) > 0.2 * max(lengths)
    assert found.drawn == 20_000 * len(times)
    assert found.queried(steps, 10) == steps // 5 * 10
    assert annealed(steps, both=True)[0].queried(steps, 10) == steps * 10


def test_rounds_pool_what_they_have_drawn():
    """Of the target N(0, 1), a round from N(0, 2) and one from N(0, 1.2): each counts as its weights are worth."""
    found = ReweightedAnnealing(1.0, 0.9, 100, 20_000, 0.2, rounds=2, fresh=10_000)
    sizes = []
    for step, sd, count in ((20, 2.0, 20_000), (50, 1.2, 10_000)):
        found.observe(torch.tensor(0.0))
        found.advance(step, [draws(1.0, count, seed=step, sd=sd)])
        assert found.share is not None
        sizes.append(float(found.share.sum()))
    worth = [count * math.sqrt(2 * s**2 - 1) / s**2 for count, s in ((20_000, 2.0), (10_000, 1.2))]
    assert abs(sizes[0] / worth[0] - 1) < 0.02
    assert abs((sizes[1] - sizes[0]) / worth[1] - 1) < 0.02
    x = torch.cat([found.batch(500, seed, CPU)["x"] for seed in range(40)])
    assert abs(float(x.std()) - 1) < 4 / math.sqrt(2 * sum(worth))
    assert found.drawn == 30_000


def test_rounds_grow_and_each_has_its_own_learning_rate():
    """Of 1000 steps the last 400, as 1 : 2 : 3; the rate falls once before them and once in each."""
    found, times = annealed(rounds=3, fresh=30_000, refine=0.4)
    rounds = [t for t, s in zip(times, found.stages, strict=True) if s.beta >= 1]
    assert abs(rounds[0] - 600) < 30
    lengths = [b - a for a, b in zip(rounds, [*rounds[1:], 1000], strict=True)]
    left = 1000 - rounds[0]
    assert all(abs(length - left * share / 6) <= 1 for length, share in zip(lengths, (1, 2, 3), strict=True))
    assert found.count == 30_000
    assert found.course(1000) == (rounds[-1], 1000)
    early, _ = annealed(until=500, refine=0.4)
    assert early.course(500) is None  # nothing fresh is wanted: one course for all steps
    assert annealed(until=500, fresh=20_000, refine=0.4)[0].course(500) == (0, 600)


@pytest.mark.parametrize("until", [500, 890])
def test_its_state_comes_back(until):
    found, _ = annealed(until=until)
    again = ReweightedAnnealing(0.1, 0.9, 1000, 20_000, 0.2)
    again.load(json.loads(json.dumps(found.state())), found.tensors())
    assert again.course(until) == found.course(until)
    assert again.state() == found.state()
    assert again.due(found.next)
    assert torch.equal(again.batch(100, 3, CPU)["x"], found.batch(100, 3, CPU)["x"])


def test_what_went_wrong_is_told():
    found, _ = annealed(until=500)
    assert "before the system's own temperature" in found.warnings()[0]
    far = ReweightedAnnealing(0.1, 0.9, 1000, 20_000, 0.2)
    far.observe(torch.tensor(0.0))
    far.advance(200, [draws(0.1, sd=0.4)])
    assert "may lack a basin" in far.warnings()[-1]


def test_draws_without_a_finite_energy_are_left_out():
    bad = draws(0.1, sd=3.0)
    bad.log_weight[:3], bad.log_target[:3] = -math.inf, -math.inf
    found = ReweightedAnnealing(0.1, 0.9, 1000, 20_000, 0.2)
    found.observe(torch.tensor(0.0))
    found.advance(200, [bad])
    assert found.x is not None
    assert len(found.x) == 19_997


def test_a_temperature_is_named_once_however_many_buffers_failed_there() -> None:
    found = ReweightedAnnealing(0.25, 0.9, 100, 20_000, 0.2)
    found.beta = 1.0
    found.stages = [Stage(beta, 10, 0.0, 0.0, ess, True, 0.0) for beta, ess in ((0.25, 1e-4), (0.25, 2e-4), (0.5, 0.5))]
    (told,) = found.warnings()
    assert told.startswith("at beta = 0.25 fewer than 1%")
