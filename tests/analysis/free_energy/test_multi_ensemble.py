"""Several ensembles as one: exact weights, MBAR's assumption tested, TRAM where it fails, and what is refused."""

from typing import Any

import numpy as np
import pytest
from scipy.special import logit
from scipy.stats import norm

from bayescg.analysis import multi_ensemble
from bayescg.analysis.free_energy.ensembles import binned, paths_of, pooled, tram
from bayescg.data import Bias, Frames
from bayescg.data.mbar import mbar
from bayescg.errors import ConfigError, DataError
from tests.calibration import multi_ensembles as prinz


def reduced(x: np.ndarray, **rest: Any) -> Frames:
    return Frames.from_numpy(x[:, None], unit="reduced", temperature_kT=rest.pop("kT", 1.0), dt=1.0, **rest)


def harmonic(seed: int, trajectories: int = 20, length: int = 50) -> list[Frames]:
    """At equilibrium under biases that move a harmonic well of kT = 1: exact draws."""
    rng, centres, parts = np.random.default_rng(seed), np.array([0.0, 1.0, 2.0]), []
    for k, centre in enumerate(centres):
        x = rng.normal(centre, size=trajectories * length)
        energies = 0.5 * (x[:, None] - centres) ** 2 - 0.5 * x[:, None] ** 2
        bias = Bias(np.full(len(x), k), energies)
        parts.append(reduced(x, bias=bias, trajectory=np.repeat(np.arange(trajectories), length)))
    return parts


@pytest.mark.parametrize("estimator", ["mbar", "tram"])
def test_weights_are_those_of_the_unbiased_ensemble(estimator):
    draws = 60 if estimator == "mbar" else 12
    settings: Any = {"estimator": estimator, "draws": draws, "states": lambda x: x[:, 0], "lag": 1.0, "bins": 6}
    answer = multi_ensemble(harmonic(0), **settings)
    square = answer.average(lambda x: x[:, 0] ** 2)
    assert abs(square.mean - 1.0) < 4 * square.sd
    assert square.sd < 0.15
    above = answer.probability(lambda x: x[:, 0] > 2)
    assert abs(above.mean - norm.sf(2)) < 4 * above.sd
    assert above.sd < 0.15 * norm.sf(2)  # of 1000 unbiased frames alone .21
    np.testing.assert_allclose(answer.free_energies.mean(0), 0.0, atol=0.2)  # a well that is moved is as wide
    assert answer.drift < 3


def test_temperatures_are_ensembles_too():
    rng, parts = np.random.default_rng(0), []
    for kT in (1.0, 2.0):
        x = rng.normal(scale=kT**0.5, size=3000)
        parts.append(reduced(x, kT=kT, energy=0.5 * x**2, trajectory=np.arange(3000) // 100))
    answer = multi_ensemble(parts, estimator="mbar", draws=40)
    rare = answer.probability(lambda x: x[:, 0] > 2.5)
    assert abs(rare.mean - norm.sf(2.5)) < 4 * rare.sd
    assert rare.ci90 is not None
    assert 0 < rare.ci90[0] < rare.mean < rare.ci90[1] < 0.02


@pytest.mark.parametrize("region", [lambda x: x[:, 0], lambda x: x > 0], ids=["numbers", "column"])
def test_what_is_no_region_is_refused(region):
    answer = multi_ensemble(harmonic(0), estimator="mbar", draws=2)
    with pytest.raises(ConfigError, match="does not say whether a frame is in the region"):
        answer.probability(region)


def chain(energies: list[np.ndarray], seed: int) -> list[Frames]:
    """Three places, of which each ensemble has energies, visited by reversible chains that all begin in the first."""
    rng, parts = np.random.default_rng(seed), []
    for k, u in enumerate(energies):
        p = np.minimum(1, np.exp(u[:, None] - u)) * 0.1 * (np.abs(np.subtract.outer(range(3), range(3))) == 1)
        p += np.diag(1 - p.sum(1))
        state = np.zeros((80, 40), dtype=int)
        for j in range(1, 40):
            state[:, j] = (np.cumsum(p, 1)[state[:, j - 1]] < rng.random(80)[:, None]).sum(1).clip(0, 2)
        x = state.ravel().astype(float)
        biases = np.stack([v[state.ravel()] - energies[0][state.ravel()] for v in energies], 1)
        parts.append(reduced(x, bias=Bias(np.full(len(x), k), biases), trajectory=np.repeat(np.arange(80), 40)))
    return parts


def test_tram_is_right_where_trajectories_begin_in_one_state_and_mbar_is_not():
    energies = [np.array([0.0, 2.0, -1.0]), np.array([0.0, 1.0, -0.5])]
    exact = np.exp(-energies[0]) / np.exp(-energies[0]).sum()
    errors = []
    for seed in range(6):
        frames = pooled(chain(energies, seed))
        paths = paths_of(frames, frames.positions[:, 0].astype(int), 1.0)
        weights = tram(paths, np.ones(160, dtype=int))[0]
        errors.append(logit(weights[frames.positions[:, 0] == 2].sum()) - logit(exact[2]))
    assert abs(np.mean(errors)) < 4 * np.std(errors) / 6**0.5
    assert np.std(errors) < 0.4
    with pytest.raises(DataError, match=r"first and second halves .* differ by .*estimator='tram'"):
        multi_ensemble(chain(energies, 0), lambda x: x[:, 0], estimator="mbar")


def test_bad_input_is_refused_in_words():
    parts = harmonic(0)
    rng, far = np.random.default_rng(0), []
    for k in range(2):
        x = rng.normal(50.0 * k, size=2000)
        bias = Bias(np.full(2000, k), np.square(x[:, None] - [0.0, 50.0]))
        far.append(reduced(x, bias=bias, trajectory=np.arange(2000) // 100))
    with pytest.raises(DataError, match="ensembles 0 and 1 do not overlap"):
        multi_ensemble(far, estimator="mbar")
    with pytest.raises(ConfigError, match="estimator='wham' is not known"):
        multi_ensemble(parts, estimator="wham")
    with pytest.raises(ConfigError, match="give states="):
        multi_ensemble(parts)
    with pytest.raises(DataError, match="ensemble 2 has no frames"):
        multi_ensemble(parts[:2], estimator="mbar")
    with pytest.raises(DataError, match="give Frames"):
        multi_ensemble([], estimator="mbar")
    with pytest.raises(DataError, match="neither a bias nor energies"):
        multi_ensemble([reduced(np.zeros(10))] * 2, estimator="mbar")
    with pytest.raises(DataError, match="frames of one ensemble"):
        multi_ensemble(reduced(np.zeros(10), energy=np.zeros(10)), estimator="mbar")
    with pytest.raises(DataError, match="1 trajectories went through ensemble 0"):
        multi_ensemble([reduced(part.positions[:, 0], bias=part.bias) for part in parts], estimator="mbar")
    with pytest.raises(DataError, match="no trajectory is longer than the lag 60"):
        multi_ensemble(parts, lambda x: x[:, 0], lag=60.0)
    with pytest.raises(DataError, match="gives 2 numbers a frame"):
        multi_ensemble(parts, lambda x: x.repeat(1, 2), lag=1.0)


@pytest.mark.slow
def test_three_flattened_ensembles_of_prinz():
    """TRAM's bias is a small part of its scatter; MBAR is refused in every set, and would be far off."""
    errors, wrong, exact = [], [], prinz.exact()["odds at 0.0"]
    for seed in range(24):
        parts: Any = prinz.flattened(seed)
        with pytest.raises(DataError, match="not in global equilibrium"):
            multi_ensemble(parts, lambda x: x[:, 0], estimator="mbar", draws=2)
        frames: Any = pooled(parts)
        paths, left = paths_of(frames, binned(frames.positions[:, 0], 20), 0.05), frames.positions[:, 0] < 0
        errors.append(logit(tram(paths, np.ones(180, dtype=int))[0][left].sum()) - exact)
        log_weights = mbar(frames.bias.energies, frames.bias.window)[0]
        wrong.append(logit(np.exp(log_weights)[left].sum()) - exact)
    spread = np.std(errors, ddof=1)
    assert abs(np.mean(errors)) < 0.3 * spread + 2 * spread / 24**0.5
    assert np.mean(wrong) < -5 * np.std(wrong, ddof=1)
