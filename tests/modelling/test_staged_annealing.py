"""A generator that learns part by part: which part, from which draws, at which rate, and what a checkpoint keeps."""

import json

import pytest
import torch

from bayescg.modelling import Draws, StagedAnnealing

CPU = torch.device("cpu")
STEPS = 1000


def draws(beta, count, seed):
    """Of N(0, 1 / beta), the target, with the beta and the number of the draw beside it."""
    x = torch.randn(count, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * beta**-0.5
    log_target = -0.5 * beta * x[:, 0] ** 2
    marked = torch.cat([x, torch.full_like(x, beta)], 1)
    return Draws(marked, torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64), log_target)


def trained(until):
    """A schedule after so many steps, and each step's stage and course."""
    schedule, record = StagedAnnealing(0.1, 0.7, STEPS, 500, rounds=2, fresh=1000), []
    for step in range(1, until + 1):
        record.append((schedule.stage, schedule.course(step - 1)))
        schedule.observe(torch.tensor(1.0))
        if schedule.due(step):
            schedule.advance(step, [draws(schedule.beta, schedule.count, step)] if schedule.count else [])
    return schedule, record


def test_the_stages_follow_each_other():
    schedule, record = trained(STEPS)
    stages = [stage for stage, _ in record]
    assert stages == ["plain"] * 700 + ["reading"] * 100 + [""] * 200
    assert schedule.beta == 1.0
    assert record[750][1] == (700, 800)
    assert record[900][1] == (800, 1000)
    rounds = [s.step for s in schedule.stages if s.beta >= 1]
    assert rounds[-1] == 700  # the last draws of the generator alone
    assert record[699][1] == (rounds[-2], 700)
    assert schedule.drawn == 500 * (len(schedule.stages) - len(rounds)) + 1000 * len(rounds)


def test_what_is_read_is_hot_or_as_it_came():
    """Draws of the annealing from 0.3 on and the last ones; of a batch, each about as often as there are of it."""
    schedule, _ = trained(750)
    betas = torch.cat([schedule.batch(500, seed, CPU)["x"] for seed in range(40)])[:, 1]
    hot = [s.beta for s in schedule.stages if 0.3 < s.beta < 1]
    assert hot
    assert set(betas.unique().tolist()) == {*hot, 1.0}
    expected = 1000 / (1000 + 500 * len(hot))
    assert abs(float((betas == 1).double().mean()) - expected) < 4 * (expected / 20_000) ** 0.5


def test_in_the_end_batches_follow_the_weights_of_all_rounds():
    schedule, _ = trained(900)
    x = schedule.batch(500, 0, CPU)["x"]
    assert set(x[:, 1].tolist()) == {1.0}
    assert schedule.rows is None
    assert schedule.x is not None
    assert len(schedule.x) == 1000 * sum(s.beta >= 1 for s in schedule.stages)


@pytest.mark.parametrize("until", [300, 650, 750, 900])
def test_its_state_comes_back(until):
    schedule, _ = trained(until)
    again = StagedAnnealing(0.1, 0.7, STEPS, 500, rounds=2, fresh=1000)
    again.load(json.loads(json.dumps(schedule.state())), schedule.tensors())
    assert again.state() == schedule.state()
    assert again.course(until) == schedule.course(until)
    assert torch.equal(again.batch(100, 3, CPU)["x"], schedule.batch(100, 3, CPU)["x"])
