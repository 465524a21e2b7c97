"""Scores of one variable's dynamics, of where shots end, and of maps of a step: against what they are by hand."""

from functools import partial

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.analysis import compare, reliability, score_of
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.models import ActionMap, DirectMap, EffectiveDynamics, MultitaskCV
from bayescg.systems import HenonHeiles

fit = partial(bcg.fit, progress=False, device="cpu", compile="off")


@pytest.fixture(scope="module")
def spring():
    """Halves of trajectories of dz = -z dt + sqrt(2) dW, of timescale 1, 0.2 apart."""
    keep, rng = np.exp(-0.2), np.random.default_rng(0)
    z = [rng.normal(size=20)]
    for _ in range(999):
        z.append(keep * z[-1] + np.sqrt(1 - keep**2) * rng.normal(size=20))
    x, number = np.stack(z, 1).reshape(-1, 1), np.repeat(np.arange(20), 1000)
    frames = Frames.from_numpy(x, unit="reduced", dt=0.2, temperature_kT=1.0, trajectory=number)
    return frames.subset(number < 10), frames.subset(number >= 10)


def test_the_score_of_effective_dynamics_is_the_density_of_the_later_value(spring):
    train, test = spring
    fits = {
        f"{cells} cells": fit(EffectiveDynamics(cells=cells), train.lagged(0.2), uncertainty="none")
        for cells in (60, 150)
    }
    table, pairs = compare(fits, test), test.lagged(0.2)
    now, later = (torch.as_tensor(end)[:, 0] for end in pairs.gather(slice(None)))
    keep = float(np.exp(-0.2))
    exact = float(torch.distributions.Normal(keep * now, (1 - keep**2) ** 0.5).log_prob(later).mean())
    assert table.best == "150 cells"
    assert table["150 cells"].score == pytest.approx(exact, abs=0.01)
    assert table.lag == 0.2
    assert score_of([each.model for each in fits.values()]) == "log_score"


def test_densities_of_other_variables_are_refused(spring):
    train, test = spring
    slow = fit(EffectiveDynamics(), train.lagged(0.2), uncertainty="none")
    doubled = fit(EffectiveDynamics(cv=lambda x: 2 * x[:, :1]), train.lagged(0.2), uncertainty="none")
    with pytest.raises(ConfigError, match="different spaces"):
        compare({"z": slow, "2 z": doubled}, test)


def test_the_score_of_shots_is_their_log_probability():
    model, shots, _ = MultitaskCV.example()
    short, long = (fit(model, shots, steps=n, learning_rate=0.05, uncertainty="none", seed=0) for n in (2, 200))
    table = compare({"short": short, "long": long}, shots, "commitments", blocks=4)
    counts = shots.commitments.sum()
    assert table["long"].score == pytest.approx(reliability(long, shots).log_score * counts / len(shots), rel=1e-6)
    assert table.best == "long"
    assert score_of([model]) == "commitments"
    with pytest.raises(ConfigError, match="no map of a time step"):
        compare({"short": short}, shots, "steps", lag=1.0)


class Still(DirectMap):
    """Leaves all as it is."""

    def displacement(self, q, p, lag=None):
        return torch.zeros_like(q), torch.zeros_like(p)


def test_the_score_of_steps_is_their_error():
    system = HenonHeiles()
    train, test = (
        bcg.sampling.short_trajectories(system, system.shell(n, seed=seed), lag=1.0) for n, seed in ((40, 3), (60, 4))
    )
    fits = {
        "known to third order": fit(ActionMap(system, waves=200), train, seed=0),
        "nothing known": fit(ActionMap(waves=200), train, seed=0),
        "still": fit(Still(waves=4), train, steps=1, uncertainty="none"),
    }
    table = compare(fits, test, "steps")
    assert table.best == "known to third order"
    assert table["known to third order"].score > -1e-6
    assert "still" not in table.tied
    assert table["still"].score == pytest.approx(-1.0, abs=1e-9)
    (q, q_later), (p, p_later) = (
        (torch.as_tensor(end).double() for end in test.gather(slice(None), field)) for field in ("positions", "momenta")
    )
    step = fits["nothing known"].map().step(q, p)
    moved = torch.cat([q_later - q, p_later - p], 1).square().mean(0).sqrt()
    error = torch.cat([step.q - q_later, step.p - p_later], 1) / moved
    assert table["nothing known"].score == pytest.approx(-float(error.square().mean()), rel=1e-6)
    assert score_of([each.model for each in fits.values()]) == "steps"
