"""Comparison of fits on held-out blocks: against exact scores, with errors that are right, and what is refused."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

import bayescg as bcg
from bayescg.analysis import compare
from bayescg.analysis.coverage import acceptance
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.models import (
    Autoencoder,
    GeneratorEigenfunctions,
    ReversibleDeepMSM,
    TimeLaggedAutoencoder,
    VariationalDynamicsEncoder,
)
from tests.calibration import comparisons

FEW = {
    "uncertainty": "none",
    "compile": "off",
    "steps": 80,
    "learning_rate": 0.01,
    "validation": 0.0,
    "progress": False,
    "device": "cpu",
}
ONE = {**FEW, "steps": 1}
LAG = 0.05


@pytest.fixture(scope="module")
def prinz():
    frames = bcg.sampling.overdamped(bcg.systems.Prinz(), 4000, dt=0.0005, chains=40, stride=20, device="cpu")
    return frames.split(test=0.5)


@pytest.fixture(scope="module")
def states(prinz):
    """Deep MSMs of too few states, and of as many as there are wells."""
    pairs = prinz[0].lagged(LAG)
    return {f"{m} states": bcg.fit(ReversibleDeepMSM(states=m, hidden=(16,)), pairs, **FEW) for m in (2, 4)}


def test_the_log_score_finds_the_states_that_are_missing(states, prinz):
    found = compare(states, prinz[1])
    assert found.best == "4 states"
    assert found["2 states"].difference < -3 * found["2 states"].difference_se
    assert found.tied == ["4 states"]
    assert found.lag == LAG
    assert found.warnings == ()
    exact = states["4 states"].log_density(prinz[1].lagged(LAG))[0].double().mean()
    assert found["4 states"].score == pytest.approx(float(exact), abs=1e-3)  # blocks differ in size by one pair at most


def test_pairs_and_frames_give_the_same(states, prinz):
    assert compare(states, prinz[1].lagged(LAG))["4 states"].score == compare(states, prinz[1])["4 states"].score


@pytest.mark.parametrize("part", ["all of it", "a tenth", "none"])
def test_frames_of_the_training_are_noticed(states, prinz, part):
    train, test = prinz
    on = {"all of it": train, "a tenth": train.subset(slice(0, len(train) // 10)), "none": test}[part]
    found = compare(states, on)
    assert ("4 states was trained on some of these frames" in " ".join(found.warnings)) == (part != "none")
    assert ("held out" in repr(found)) == (part == "none")
    assert ("on frames of the training of 2 states, 4 states" in repr(found)) == (part != "none")


def test_a_mode_of_noise_does_not_pay():
    """One slow coordinate and nine without memory: VAMP-E takes one mode, VAMP-2 never says no to another."""
    rng = np.random.default_rng(0)
    slow = np.zeros(20_000)
    for t in range(1, len(slow)):
        slow[t] = 0.9 * slow[t - 1] + np.sqrt(1 - 0.81) * rng.normal()
    x = np.column_stack([slow, rng.normal(size=(len(slow), 9))])
    frames = Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0)
    modes = {"one": 1, "four": 4}
    asked = dict.fromkeys(modes, lambda x: x)
    found = compare(asked, frames, "vampe", lag=1.0, modes=modes)
    assert found.best == "one"
    assert abs(found["one"].score - 1.81) < 4 * found["one"].se
    by_norm = compare(asked, frames, "vamp2", lag=1.0, modes=modes)
    assert by_norm.best == "four"
    assert any("be it noise" in w for w in by_norm.warnings)
    assert not any("be it noise" in w for w in found.warnings)


def test_the_error_of_a_difference_is_right():
    """Two functions of one process: over 30 data sets the differences scatter as their standard errors say."""
    asked = {"x": lambda x: x, "bent": lambda x: x + 0.2 * x**2}
    found, paired, single = [], [], []
    for seed in range(30):
        noise = np.random.default_rng(seed).normal(size=(4000, 1))
        x = lfilter([0.6], [1.0, -0.8], noise, axis=0)[100:]
        frames = Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0)
        row = compare(asked, frames, "vamp2", lag=1.0, modes=1, blocks=20)
        found.append(row["bent"].score - row["x"].score)
        paired.append(max(row["bent"].difference_se, row["x"].difference_se))
        single.append(row["x"].se)
    scatter = np.std(found, ddof=1)  # known to 1 / sqrt(58) = 13 %
    assert abs(np.sqrt(np.mean(np.square(paired))) / scatter - 1) < 3 * 0.131
    assert np.mean(single) > 1.5 * scatter  # the control: errors that are not paired are far too wide


@pytest.mark.slow  # by default: the error of a difference, above
def test_equals_are_tied_as_often_as_they_should_be_on_frames_worth_twenty():
    """Two densities of the same score: tied in 95 % of data sets; by two standard errors of ten blocks, in fewer."""
    sets = 200
    shifts, tied, by_two = ("+0.3", "-0.3"), 0, 0
    for seed in range(sets):
        frames = comparisons.frames_of(seed, 0.98, 2000)
        tied += len(compare(comparisons.fits(), frames).tied) == 2
        ten = compare(comparisons.fits(), frames, blocks=10)
        apart = ten[shifts[0]].blocks - ten[shifts[1]].blocks
        by_two += abs(apart.mean()) < 2 * apart.std(ddof=1) / 10**0.5
    low, high = acceptance(sets, 0.95)
    assert low <= tied <= high
    assert by_two < low


def test_blocks_that_are_too_short_are_noticed(prinz):
    one = prinz[1].subset(prinz[1].trajectory == prinz[1].trajectory[0])
    assert any("shorter than" in w for w in compare({"x": lambda x: x}, one, "vamp2", lag=LAG, modes=1).warnings)


def test_densities_of_frames_prefer_the_dimension_that_is_there():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(2000, 2))
    x = np.column_stack([z, z[:, 0] - z[:, 1], z.sum(1)]) + 0.1 * rng.normal(size=(2000, 4))
    frames = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    train, test = frames.split(test=0.5)
    given = {**FEW, "steps": 250}
    fits = {f"{d} CV": bcg.fit(Autoencoder(latent_dim=d, hidden=(16,)), train, **given) for d in (1, 2)}
    found = compare(fits, test)
    assert found.best == "2 CV"
    assert found.lag is None
    assert list(found.to_dataframe().columns) == [
        "score",
        "se",
        "difference",
        "difference_se",
        "stacking",
        "pseudo_bma",
        "verdict",
    ]
    assert list(found.to_dataframe()["verdict"]) == ["best", "behind"]
    assert "from the best, behind" in repr(found)
    assert repr(found).startswith("log_score, held out")


def test_densities_of_later_features_do_not_depend_on_whitening(prinz):
    """What was trained in whitened features is scored in the features themselves: the log density of the later one."""
    pairs = prinz[0].lagged(LAG)
    fit = bcg.fit(TimeLaggedAutoencoder(hidden=(8,)), pairs, **{**FEW, "steps": 30})
    held_out = prinz[1].lagged(LAG)
    now, later = (torch.as_tensor(end[:]) for end in held_out.ends())
    model = fit.model
    assert isinstance(model, TimeLaggedAutoencoder)
    with torch.no_grad():
        mean = model.scale.inverse(model.decoder(model.basis(now)))
        sd = prinz[0].positions.std() * model.log_noise.exp()
        exact = torch.distributions.Normal(mean, sd).log_prob(later).mean()
    assert compare({"a": fit}, held_out)["a"].score == pytest.approx(float(exact), abs=1e-3)


@pytest.mark.parametrize(
    ("more", "given", "message"),
    [
        (lambda p: {"f": lambda x: x}, {}, "has no density"),
        (
            lambda p: {"tae": bcg.fit(TimeLaggedAutoencoder(hidden=(4,)), p, **{**FEW, "steps": 1})},
            {},
            "different spac",
        ),
        (
            lambda p: {"vde": bcg.fit(VariationalDynamicsEncoder(hidden=(4,)), p, **{**FEW, "steps": 1})},
            {},
            "no log sc",
        ),
        (
            lambda p: {"longer": bcg.fit(ReversibleDeepMSM(states=2), p.frames.lagged(2 * LAG), **ONE)},
            {},
            "trained at 2 states: 0.05",
        ),
        (lambda p: {}, {"score": "vamp3"}, "not known"),
        (lambda p: {}, {"score": "timescales", "lag": 0.1}, "no lag"),
        (lambda p: {}, {"blocks": 1}, "at least"),
    ],
)
def test_what_cannot_be_compared_is_refused(states, prinz, more, given, message):
    with pytest.raises(ConfigError, match=message):
        compare({**states, **more(prinz[0].lagged(LAG))}, prinz[1], **given)


def test_fits_of_several_lags_are_compared_at_one(states, prinz):
    pairs = prinz[0].lagged(2 * LAG)
    longer = bcg.fit(ReversibleDeepMSM(states=4, hidden=(16,)), pairs, **{**FEW, "steps": 20})
    with pytest.raises(ConfigError, match="give one lag"):
        compare({**states, "longer": longer}, prinz[1], "vamp2", modes=1)
    assert compare({**states, "longer": longer}, prinz[1], "vamp2", lag=LAG, modes=1).lag == LAG


def test_timescales_of_generators_are_compared_at_one_diffusion(prinz):
    """Twice the diffusion halves every timescale: of the same functions, that would look like a worse score."""
    fits = {
        f"D = {d}": bcg.fit(GeneratorEigenfunctions(modes=1, hidden=(4,), diffusion=d), prinz[0], **ONE)
        for d in (1.0, 2.0)
    }
    asked = {"score": "timescales", "modes": 1}
    with pytest.raises(ConfigError, match=r"same thing \(mean D of D = 1.0: 1, D = 2.0: 2\); give one"):
        compare(fits, prinz[1], **asked)
    found = compare(fits, prinz[1], diffusion=1.0, **asked)
    assert found["D = 1.0"].score == pytest.approx(compare({"a": fits["D = 1.0"]}, prinz[1], **asked)["a"].score)
    varying = {"D = 1.0": fits["D = 1.0"], "one": lambda x: x}  # that of the frames is kT = 1
    assert len(compare(varying, prinz[1], **asked).rows) == 2
    assert compare(fits, prinz[1], diffusion=lambda x: torch.ones_like(x), **asked).best == found.best


def test_modes_are_given_for_each(prinz):
    asked = dict.fromkeys("ab", lambda x: x)
    for modes in ({"a": 1}, {"a": 1, "b": 1, "c": 1}):
        with pytest.raises(ConfigError, match="for each of a, b"):
            compare(asked, prinz[1], "vamp2", lag=LAG, modes=modes)
