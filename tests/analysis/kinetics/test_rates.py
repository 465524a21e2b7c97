"""Rates from frames at equilibrium against quadrature: exact along the one coordinate, an upper bound across others."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError, DataError
from tests.calibration.shot_rates import dragged, first, frames_and_shots
from tests.calibration.shot_rates import in_a as dragged_a
from tests.calibration.shot_rates import in_b as dragged_b
from tests.calibration.umbrella import exact_rates, in_a, in_b, windows


def biased(columns, times, seed, dims=1):
    """Windows along the first coordinate; the others are Gaussian."""
    frames = windows(seed, columns, times)
    rest = 0.3 * np.random.default_rng([seed, dims]).normal(size=(len(frames), dims - 1))
    return replace(frames, positions=np.c_[frames.positions, rest])


@pytest.mark.slow  # by default the right CV of the bound below is within 4 sd
def test_intervals_hold_both_rates_and_draws_spread_as_estimates_do():
    exact, held, logs, spreads = exact_rates(), np.zeros(2), [], []
    for seed in range(24):
        found = bcg.analysis.rates(lambda x: x[:, 0], biased(12, 30, seed), in_a, in_b, bins=25, draws=100, seed=seed)
        both = [found.quantities[f"rate_{way}"] for way in ("ab", "ba")]
        held += [q.ci90 is not None and q.ci90[0] <= rate <= q.ci90[1] for q, rate in zip(both, exact, strict=True)]
        logs.append([np.log(q.mean) for q in both])
        spreads.append([np.log(q.draws).std() for q in both])
    # of 24 intervals a right one holds fewer than 16 once in a thousand families
    assert (held >= 16).all(), held
    assert np.abs(np.mean(logs, 0) - np.log(exact)).max() < 0.3 * np.std(logs, 0).min()
    assert (np.mean(spreads, 0) > 0.75 * np.std(logs, 0)).all()


def test_times_are_inverse_rates_and_any_monotone_cv_says_the_same():
    frames = biased(8, 100, 0)
    plain = bcg.analysis.rates(lambda x: x[:, 0], frames, in_a, in_b, bins=40).quantities
    for bend in (lambda x: -torch.sinh(1.5 * x), lambda x: x**3, lambda x: torch.tanh((x + 1.0) / 0.4)):
        bent = bcg.analysis.rates(lambda x, bend=bend: bend(x[:, 0]), frames, in_a, in_b, bins=40).quantities
        for name in plain:  # one of vanishing gradient between the wells, too
            assert np.log(plain[name].mean / bent[name].mean) == pytest.approx(0.0, abs=0.05)
    assert plain["time_ab"].mean * plain["rate_ab"].mean == pytest.approx(1.0, abs=0.05)


def test_a_cv_that_mixes_in_other_coordinates_gives_an_upper_bound():
    frames, exact = biased(8, 200, 1, dims=3), exact_rates()[0]
    right = bcg.analysis.rates(lambda x: x[:, 0], frames, in_a, in_b, bins=30).quantities["rate_ab"]
    mixed = bcg.analysis.rates(
        lambda x: x[:, 0] + 0.25 * torch.tanh(x[:, 1] + x[:, 2]), frames, lambda x: x[:, 0] < -1.2,
        lambda x: x[:, 0] > 1.2, bins=20,
    ).quantities["rate_ab"]  # fmt: skip
    assert abs(np.log(right.mean / exact)) < 4 * right.sd / right.mean
    assert mixed.mean > 1.2 * exact


def test_what_cannot_be_answered_is_refused():
    frames = biased(4, 50, 2)
    with pytest.raises(ConfigError, match="overlap"):
        bcg.analysis.rates(lambda x: x[:, 0], frames, in_a, lambda x: x[:, 0] > -1.5)
    with pytest.raises(DataError, match="no frame lies in the set b"):
        bcg.analysis.rates(lambda x: x[:, 0], frames, in_a, lambda x: x[:, 0] > 9.0)
    with pytest.raises(DataError, match="use fewer bins"):
        bcg.analysis.rates(lambda x: x[:, 0], frames, in_a, in_b, bins=2000)
    with pytest.raises(ConfigError, match=r"gives \(\d+, 2\) for \d+ frames: a rate is along one"):
        bcg.analysis.rates(lambda x: x[:, [0, 0]], frames, in_a, in_b)
    with pytest.raises(ConfigError, match="does not lead from a to b"):
        bcg.analysis.rates(lambda x: torch.cos(5 * x[:, 0]), frames, in_a, in_b)


def test_shots_put_right_what_the_cv_leaves_out():
    frames, shots = frames_and_shots(3, 4000)
    exact = float(bcg.truth.reaction_rates(dragged(), dragged_a, dragged_b)[0].value)
    bound = bcg.analysis.rates(first, frames, dragged_a, dragged_b).quantities["rate_ab"]
    found = bcg.analysis.rates(first, frames, dragged_a, dragged_b, shots=shots, system=dragged()).quantities
    assert bound.mean - exact > 8 * bound.sd
    assert abs(found["rate_ab"].mean - exact) < 3 * found["rate_ab"].sd
    assert found["rate_ab"].sd < 0.15 * exact
    assert found["transmission"].mean == pytest.approx(found["rate_ab"].mean / bound.mean, rel=0.05)
    tilted = lambda x: -torch.exp(-x[:, 0])  # noqa: E731 - any function of the CV, whichever way it points
    again = bcg.analysis.rates(tilted, frames, dragged_a, dragged_b, shots=shots, system=dragged()).quantities
    assert abs(again["rate_ab"].mean - exact) < 3 * again["rate_ab"].sd


def test_shots_that_tell_nothing_of_the_rate_are_refused():
    frames, shots = frames_and_shots(0, 40)
    ask = partial(bcg.analysis.rates, first, frames, dragged_a, dragged_b, bins=6)
    with pytest.raises(ConfigError, match="give system="):
        ask(shots=shots)
    ask = partial(ask, system=dragged())
    elsewhere = replace(shots, positions=np.asarray(shots.positions) + 0.1)
    with pytest.raises(DataError, match=r"40 of 40 shots are from configurations that are none of the frames"):
        ask(shots=elsewhere)
    with pytest.raises(DataError, match="counts at two regions"):
        ask(shots=frames[:10])
    inside = bcg.sampling.commitment(
        dragged(), frames[:50], {"B": dragged_b, "A": dragged_a}, shots=1, dt=1e-3, compile="trace", progress=False
    )
    with pytest.raises(DataError, match="must be a and b, in order"):
        ask(shots=inside)
    with pytest.raises(ConfigError, match="D is the same everywhere"):
        ask(shots=shots, diffusion=lambda x: 1 + x[:, 0] ** 2)
    inertial = bcg.sampling.commitment(
        dragged(), frames[:50], {"A": dragged_a, "B": dragged_b}, shots=1, dt=1e-2, dynamics="langevin",
        compile="trace", progress=False,
    )  # fmt: skip
    with pytest.raises(DataError, match="Langevin dynamics"):
        ask(shots=inertial)
