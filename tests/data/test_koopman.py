"""Equilibrium weights: exact for Markov chains, resampled as if trajectories were there twice, refused if unknown."""

from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore:equilibrium weights in 2 functions")
JUMPS = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.25, 0.7]])


def weighed(x, lag=1.0, basis=None) -> Any:
    return frames_of(x).equilibrium(basis or states, lag)


def states(x):
    return torch.nn.functional.one_hot(x[:, 0].long(), 3).double()


def chains(count=30, length=40, start=2, seed=0):
    """Trajectories of a chain of three states, all begun in one: states, (count, length)."""
    rng, cumulative = np.random.default_rng(seed), np.cumsum(JUMPS, 1)
    out = np.full((count, length), start)
    for k in range(1, length):
        out[:, k] = (cumulative[out[:, k - 1]] < rng.random(count)[:, None]).sum(1)
    return out


def frames_of(x, dt=1.0):
    number = np.repeat(np.arange(len(x)), x.shape[1])
    return Frames.from_numpy(
        x.reshape(-1, 1).astype(float), unit="reduced", dt=dt, temperature_kT=1.0, trajectory=number
    )


def stationary(x, lag):
    """Of the matrix of jumps counted in a lag, over the share of the first frames in each state."""
    counts = np.zeros((3, 3))
    np.add.at(counts, (x[:, :-lag].ravel(), x[:, lag:].ravel()), 1.0)
    values, vectors = np.linalg.eig((counts / counts.sum(1, keepdims=True)).T)
    p = np.real(vectors[:, np.argmax(np.real(values))])
    return p / p.sum() / (counts.sum(1) / counts.sum())


@pytest.mark.parametrize("lag", [1, 3])
def test_weights_of_states_are_the_stationary_vector_over_their_shares(lag):
    x = chains()
    weighted = weighed(x, float(lag))
    begins = np.tile(np.arange(40) < 40 - lag, 30)
    w = weighted.weights[begins]
    assert np.allclose(w / w.mean(), stationary(x, lag)[x.ravel()[begins]], rtol=1e-5)
    assert not weighted.weights[~begins].any()


def test_a_turned_basis_gives_the_same_weights():
    turn = torch.tensor([[1.0, 2.0, 0.5], [0.0, 1.0, -3.0], [0.2, 0.1, 1.0]], dtype=torch.float64)
    plain, turned = (weighed(chains(), basis=f) for f in (states, lambda x: states(x) @ turn + 7.0))
    assert np.allclose(plain.weights / plain.weights.sum(), turned.weights / turned.weights.sum(), rtol=1e-5)


def test_a_draw_counts_trajectories_as_if_they_were_there_more_often():
    x = chains()
    koopman = weighed(x).koopman
    twice = np.ones(30)
    twice[[3, 7]] = 2.0
    u = koopman.coefficients(twice[None])[0]
    p = np.array([(koopman.values[x.ravel() == k][0] @ u) for k in range(3)])
    more = np.concatenate([x, x[[3, 7]]])
    assert np.allclose(p / p[0], stationary(more, 1) / stationary(more, 1)[0], rtol=1e-5)


def test_averages_hold_the_truth_where_those_of_the_frames_do_not():
    exact = np.linalg.matrix_power(JUMPS, 200)[0, 2]
    x = chains(100, 8)
    raw = frames_of(x)
    weighted = weighed(x)
    found = bcg.analysis.average(x.ravel() == 2, weighted, 400, 0, "")
    assert abs(found.mean - exact) < 3 * found.sd
    without = bcg.analysis.average(x.ravel() == 2, raw, 400, 0, "")
    assert without.mean - exact > 5 * without.sd
    assert without.ci90 is None
    assert found.ci90 is not None


def test_weights_stay_with_their_frames():
    weighted = weighed(chains())
    part = weighted.subset(slice(5, None, 7))
    assert np.array_equal(part.weights, weighted.weights[5::7])
    assert len(part.koopman) == len(part)
    again = weighted.equilibrium(states, lag=1.0)
    assert np.array_equal(again.weights, weighted.weights)


def test_more_than_two_hundred_trajectories_share_blocks():
    koopman = weighed(chains(450, 8)).koopman
    assert koopman.blocks == 200
    assert np.bincount(koopman.block).min() >= 16


def test_few_functions_and_disagreeing_lags_are_told():
    with pytest.warns(UserWarning, match="in 2 functions: fewer than 10"):
        warnings = weighed(chains()).koopman.warnings
    assert "slow eigenfunctions" in warnings[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda: frames_of(chains(9)).equilibrium(states, 1.0), "9 of 9 trajectories are longer than the lag 1"),
        (lambda: frames_of(chains()).equilibrium(states, 40.0), "0 of 30 trajectories are longer than the lag 40"),
        (lambda: frames_of(chains()).equilibrium(states, 0.5), "not a positive multiple"),
        (lambda: frames_of(chains()).equilibrium(lambda x: x * 0, 1.0), "none of the functions"),
        (lambda: frames_of(chains()).equilibrium(lambda x: x / 0, 1.0), "not finite"),
        (lambda: frames_of(chains()).equilibrium(lambda x: x[:, 0], 1.0), "must map"),
        (lambda: Frames.from_numpy(np.ones((20, 1)), unit="reduced").equilibrium(states, 1.0), "no time axis"),
        (
            lambda: Frames.from_numpy(
                np.ones((20, 1)), unit="reduced", dt=1.0, weights=np.arange(20) + 1.0
            ).equilibrium(states, 1.0),
            "have weights already",
        ),
        (lambda: frames_of(np.repeat(np.arange(3), 10)[:, None] * np.ones(9, int)).equilibrium(states, 1.0), "none"),
    ],
    ids=["few", "long", "between", "constant", "infinite", "shape", "time", "weighted", "apart"],
)
def test_what_cannot_be_weighed_is_refused(change, says):
    with pytest.raises(DataError, match=says):
        change()


def test_a_model_without_functions_is_refused():
    with pytest.raises(ConfigError, match="Linear has no basis"):
        frames_of(chains()).equilibrium(torch.nn.Linear(1, 2), 1.0)
