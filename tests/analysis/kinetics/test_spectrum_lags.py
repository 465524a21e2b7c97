"""Timescales against lag, the Chapman-Kolmogorov test, and held-out scores."""

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg import plot
from bayescg.analysis import chapman_kolmogorov, compare, implied_timescales
from bayescg.errors import ConfigError, DataError


def powers(x):
    return torch.cat([x, x**2, x**3], 1)


@pytest.fixture(scope="module")
def spring():
    """Trajectories of the Ornstein-Uhlenbeck process, with eigenvalues 1, 2, 3."""
    return bcg.sampling.overdamped(bcg.systems.Harmonic(), 40_000, dt=0.01, chains=4, stride=10)


def test_timescales_do_not_depend_on_the_lag_where_modes_are_resolved(spring):
    found = implied_timescales(powers, spring, [0.1, 0.3, 0.5], modes=2, draws=100)
    assert (np.abs(found.mean("draw") - np.array([1, 0.5])) < 3 * found.std("draw")).all()


def test_a_timescale_far_below_the_lag_is_told_to_be_unknown(spring):
    """After a lag of 6 the second mode is down to e^-12, and 4000 of the frames are four trajectories of 400."""
    found = implied_timescales(powers, spring, [0.2, 6.0], modes=2, draws=100)
    assert bool(found.sel(lag=6.0, mode=2).isnull().all())
    assert not bool(found.sel(lag=0.2).isnull().any())
    assert "no timescale at lag 6: mode 2 decays within the lag 6: use a shorter one" in found.attrs["refused"]
    legend = plot.timescales(found).axes[0].get_legend_handles_labels()[1]
    assert legend == ["mode 1", "mode 2"]
    assert plot.timescales(found[1:]).axes[0].get_legend_handles_labels()[1][1] == "mode 2, no interval"


def test_a_markovian_spring_passes_and_a_projection_fails(spring):
    test = chapman_kolmogorov(powers, spring, 0.2, modes=2, draws=200)
    exact = np.exp(-np.outer(test.measured["lag"], [1, 2]))
    for k in (0, 1):
        mean, sd = test.measured[:, :, k, k].mean("draw"), test.measured[:, :, k, k].std("draw")
        assert (np.abs(mean - exact[:, k]) < 3.5 * sd).all()
    assert float(test.outside[1:, 0, 0].mean()) < 0.5
    assert not test.outside[0].any()
    # |x| forgets the side, and of it only a rough step is seen: not an eigenfunction, so its correlation is no power
    rough = chapman_kolmogorov(lambda x: torch.sign(x - 1.0), spring, 0.2, modes=1, draws=200)
    assert bool(rough.outside[1:, 0, 0].all())


@pytest.mark.parametrize(("score", "lag"), [("vamp2", 0.2), ("vampe", 0.2), ("timescales", None)])
def test_better_functions_score_higher_and_held_out_less_than_in_sample(spring, score, lag):
    asked = {"right": powers, "poor": lambda x: torch.tanh(3 * (x - 1.0))}
    found = compare(asked, spring, score, lag=lag, modes=1)
    right, poor = found["right"], found["poor"]
    assert right.difference == 0
    assert poor.difference < -3 * poor.difference_se
    exact = 1 + np.exp(-2 * 0.2) if lag else 1.0
    assert right.in_sample is not None
    assert abs(right.in_sample - exact) < 4 * right.se
    assert right.score < right.in_sample + right.se


@pytest.mark.slow
@pytest.mark.parametrize(
    ("score", "lag", "widest"), [("timescales", None, 1.4), ("vamp2", 0.2, 1.4), ("vampe", 0.2, 2.1)]
)
def test_standard_errors_of_scores_are_those_of_many_data_sets(score, lag, widest):
    """Of 100 springs for 100 relaxations each, from a hundred of which an sd is known to 7 %; vampe's is too wide."""
    made = bcg.sampling.overdamped(bcg.systems.Harmonic(), 10_000, dt=0.01, chains=100, stride=5, seed=5)
    frames = [made.subset(np.flatnonzero(made.trajectory == k)) for k in range(100)]
    bounded = lambda x: torch.tanh(x - torch.linspace(-2.5, 2.5, 9))  # noqa: E731
    rows = [compare({"a": bounded}, one, score, lag=lag, modes=1)["a"] for one in frames]
    ratio = np.mean(np.square([r.se for r in rows])) ** 0.5 / np.std([r.score for r in rows], ddof=1)
    print(f"{score}: quoted over true sd {ratio:.2f}")
    assert 0.8 < ratio < widest


def test_in_sample_scores_of_many_functions_are_too_good():
    frames = bcg.sampling.overdamped(bcg.systems.Harmonic(), 2000, dt=0.02, chains=1, stride=5, seed=2)
    centres = torch.linspace(-2.5, 2.5, 60)
    rich = {"rich": lambda x: torch.exp(-((x - centres) ** 2) / 0.02)}
    found = compare(rich, frames, "vamp2", lag=0.3, modes=5)["rich"]
    assert found.in_sample is not None
    assert found.score < found.in_sample


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda f: compare({"a": powers}, f, "vamp3", lag=0.2), ConfigError, "vamp2"),
        (lambda f: compare({"a": powers}, f, "vamp2"), ConfigError, "needs a lag"),
        (lambda f: compare({"a": powers}, f, "timescales", lag=0.2), ConfigError, "no lag"),
        (lambda f: chapman_kolmogorov(powers, f), ConfigError, "a lag is needed"),
        (lambda f: chapman_kolmogorov(powers, f, 0.2, multiples=(2, 3)), ConfigError, "ascend from 1"),
        (lambda f: chapman_kolmogorov(powers, f, 100.0), DataError, "shorter lag"),
    ],
)
def test_what_makes_no_sense_is_refused(spring, ask, error, message):
    with pytest.raises(error, match=message):
        ask(spring)
